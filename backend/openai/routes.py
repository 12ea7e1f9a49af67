"""OpenAI's Images API: the official client works unchanged."""

import base64
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import JSONResponse, StreamingResponse

from backend.limits.keys import Keys
from backend.openai import bodies, streaming, translation
from backend.openai.bodies import EditBody, GenerationBody
from backend.openai.links import Links
from backend.openai.translation import ImageCall
from backend.routes.context import (
    IdempotencyKey,
    Owner,
    Service,
    abandon_on_disconnect,
    keys_of,
    owner_of,
)
from backend.routes.images import image_response
from backend.service import GenerationService
from web import errors, sse, waiting
from web.edge import retry_header

_ERROR_FIELDS = {
    "message": {"type": "string"},
    "type": {"type": "string"},
    "param": {"type": ["string", "null"]},
    "code": {"type": ["string", "null"]},
}
_ERROR_SCHEMA = {
    "type": "object",
    "properties": {"error": {"type": "object", "properties": _ERROR_FIELDS}},
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": "An error in OpenAI's shape",
        "content": {"application/json": {"schema": _ERROR_SCHEMA}},
    }
    for status in (400, 401, 404, 405, 409, 413, 429, 500, 502, 503, 504)
}


router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=_ERRORS)
_KEY_FIRST = [Depends(owner_of)]
"""Checks the key before the body is read."""


def render_error(error: errors.EaselError, _: Request, request_id: str) -> Response:
    """Answer with an error as OpenAI's API words it."""
    status, body = translation.error_body(error)
    return JSONResponse(body, status, {**retry_header(error), "x-request-id": request_id})


async def links_of(keys: Annotated[Keys, Depends(keys_of)]) -> Links:
    return Links.of(keys.keys)


SignedLinks = Annotated[Links, Depends(links_of)]


@router.post(
    "/images/generations",
    dependencies=_KEY_FIRST,
    openapi_extra=bodies.documented("application/json"),
)
async def generate_images(
    body: GenerationBody,
    service: Service,
    owner: Owner,
    links: SignedLinks,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    call = translation.translate(service.catalog, body, default_mode="free")
    return await _answer(service, owner, call, None, request, links, idempotency_key)


@router.post(
    "/images/edits",
    dependencies=_KEY_FIRST,
    openapi_extra=bodies.documented("multipart/form-data", with_image=True),
)
async def edit_images(
    body: EditBody,
    service: Service,
    owner: Owner,
    links: SignedLinks,
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    call = translation.translate(service.catalog, body[0], default_mode="restyle")
    return await _answer(service, owner, call, body[1], request, links, idempotency_key)


@router.get("/models")
async def list_models(service: Service, _: Owner) -> dict[str, Any]:
    ids = translation.model_ids(service.catalog)
    return {"object": "list", "data": [translation.model_entry(name) for name in ids]}


@router.get("/models/{model_id}")
async def get_model(model_id: str, service: Service, _: Owner) -> dict[str, Any]:
    if model_id not in translation.model_ids(service.catalog):
        raise translation.ModelNotFound(f"The model '{model_id[:60]}' does not exist")
    return translation.model_entry(model_id)


@router.get(
    "/files/{generation_id}/{number}/{issued}/{signature}",
    response_class=Response,
    include_in_schema=False,
)
async def get_file(
    generation_id: UUID,
    number: int,
    issued: str,
    signature: str,
    service: Service,
    links: SignedLinks,
    request: Request,
) -> Response:
    links.check(generation_id, number, issued, signature)
    row = await service.storage.rows.get(generation_id)
    if row is None:
        raise errors.NotFound("The image was deleted")
    return await image_response(service, row, number, row.request.format, request)


async def _answer(
    service: GenerationService,
    owner: str,
    call: ImageCall,
    photo: bytes | None,
    request: Request,
    links: Links,
    key: str | None,
) -> Response:
    row, _ = await service.acceptance.accept(
        uuid4(), owner, call.request, photo, key=key, wait=True
    )
    if call.stream:
        kind = "image_generation" if photo is None else "image_edit"
        events = streaming.stream(service, row, call, kind, key)
        return StreamingResponse(events, headers=sse.HEADERS, media_type="text/event-stream")
    release = abandon_on_disconnect(service, row, key)
    ended = await waiting.waited(request, service.finished(row), release)
    data = []
    for number in range(ended.request.count):
        if call.as_url:
            base = str(service.public_url or request.base_url).rstrip("/")
            data.append({"url": base + links.path(row.id, number)})
        else:
            image = await service.image(ended, number)
            data.append({"b64_json": base64.b64encode(image).decode()})
    return JSONResponse(translation.images_answer(call, data, streaming.size_of(ended)))
