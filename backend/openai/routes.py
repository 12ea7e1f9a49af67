"""OpenAI's Images API: the official client works unchanged."""

import asyncio
import base64
import time
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError
from starlette.responses import JSONResponse, StreamingResponse

from backend.limits.people import of_person
from backend.openai import translation
from backend.openai.links import Links
from backend.openai.streaming import size_of, stream
from backend.openai.translation import ImageCall, ImageRequest
from backend.routes.context import (
    IdempotencyKey,
    Owner,
    Person,
    Service,
    abandon_on_disconnect,
    owner_of,
)
from backend.routes.images import image_response
from backend.state import State
from gpu_server.pictures import uploads
from web import content, edge, errors, sse, waiting

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
    return JSONResponse(body, status, {**edge.retry_header(error), "x-request-id": request_id})


async def links_of(request: Request) -> Links:
    return Links.of(State.of(request.app).keys.keys)


SignedLinks = Annotated[Links, Depends(links_of)]


async def _read_json(request: Request) -> ImageRequest:
    if content.is_form(request):
        raise errors.InvalidRequest("The body must be application/json")
    return _validated(await content.read_json(request))


async def _read_form(request: Request) -> tuple[ImageRequest, bytes]:
    if not content.is_form(request):
        raise errors.InvalidRequest("The body must be multipart/form-data")
    parts = await content.read_form(request)
    images = [part for part in parts if part.name in ("image", "image[]")]
    fields = content.once_each([part for part in parts if part not in images])
    if "mask" in fields:
        raise errors.InvalidRequest("mask: is not supported; leave it out")
    if len(images) != 1:
        raise errors.InvalidRequest(f"image: exactly one is needed, {len(images)} came")
    photo = uploads.from_form(images[0].content, is_file=images[0].is_file)
    if isinstance(photo, str):
        photo = await asyncio.to_thread(uploads.from_base64, photo)
    if sum(len(part.content) for part in fields.values()) > content.MAX_JSON:
        raise errors.TooLarge("The fields besides the image may have at most 1 MB")
    texts = {name: part.text() for name, part in fields.items()}
    given = {name: text for name, text in texts.items() if text}
    return _validated(given), uploads.check_bytes(photo)


def _validated(fields: Any) -> ImageRequest:
    try:
        return ImageRequest.model_validate(fields)
    except ValidationError as error:
        raise edge.invalid_request(error) from error


GenerationBody = Annotated[ImageRequest, Depends(_read_json)]
EditBody = Annotated[tuple[ImageRequest, bytes], Depends(_read_form)]


def _documented(media_type: str, *, with_image: bool = False) -> dict[str, Any]:
    """Return `openapi_extra` of a route that reads such a body."""
    schema = ImageRequest.model_json_schema()
    if with_image:
        schema["properties"]["image"] = {"type": "string", "format": "binary"}
        schema["required"] = ["image"]
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


@dataclass(frozen=True)
class ImagesCaller:
    """Who asks for images, and how to answer."""

    service: Service
    owner: Owner
    person: Person
    links: SignedLinks
    request: Request
    idempotency_key: IdempotencyKey = None

    async def answer(self, call: ImageCall, photo: bytes | None) -> Response:
        service, key = self.service, self.idempotency_key
        wanted = of_person(call.request, self.person)
        row, _ = await service.acceptance.accept(
            uuid4(), self.owner, wanted, photo, key=key, wait=True
        )
        if call.stream:
            kind = "image_generation" if photo is None else "image_edit"
            events = stream(service, row, call, kind, key)
            return StreamingResponse(events, headers=sse.HEADERS, media_type="text/event-stream")
        release = abandon_on_disconnect(service, row, key)
        ended = await waiting.waited(self.request, service.finished(row), release)
        data = []
        for number in range(ended.request.count):
            if call.as_url:
                base = str(service.public_url or self.request.base_url).rstrip("/")
                data.append({"url": base + self.links.path(row.id, number)})
            else:
                image = await service.image(ended, number)
                data.append({"b64_json": base64.b64encode(image).decode()})
        about = translation.about(call, size_of(ended))
        return JSONResponse({"created": int(time.time()), "data": data, **about})


Caller = Annotated[ImagesCaller, Depends()]


@router.post(
    "/images/generations",
    dependencies=_KEY_FIRST,
    openapi_extra=_documented("application/json"),
)
async def generate_images(body: GenerationBody, caller: Caller) -> Response:
    call = translation.translate(caller.service.catalog, body, default_mode="free")
    return await caller.answer(call, None)


@router.post(
    "/images/edits",
    dependencies=_KEY_FIRST,
    openapi_extra=_documented("multipart/form-data", with_image=True),
)
async def edit_images(body: EditBody, caller: Caller) -> Response:
    call = translation.translate(caller.service.catalog, body[0], default_mode="restyle")
    return await caller.answer(call, body[1])


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
