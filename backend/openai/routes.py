"""OpenAI's Images API: the official client works unchanged."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import format_sse_event
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, StreamingResponse

from backend.openai import translation
from backend.openai.translation import Ask, ImageRequest, Links
from backend.routes.context import IdempotencyKey, Owner, Serving, comes_back, owner_of
from backend.routes.images import picture_response
from backend.service import GenerationService
from backend.storage.generations import GenerationRow
from gpu_server.pictures import encoding, uploads
from gpu_server.schemas import Preview
from web import VERSION, edge, errors, sse, waiting
from web.edge import retry_header
from workflows.catalog import Catalog

_ERROR_SCHEMA = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_STATUSES = (400, 401, 404, 405, 409, 413, 429, 500, 502, 503, 504)
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": "An error in OpenAI's shape",
        "content": {"application/json": {"schema": _ERROR_SCHEMA}},
    }
    for status in _STATUSES
}


def render_error(error: errors.EaselError, _: Request, request_id: str) -> Response:
    """An error as OpenAI's API answers it."""
    status, body = translation.error_body(error)
    headers = {**retry_header(error), "x-request-id": request_id}
    return JSONResponse(body, status, headers=headers)


async def _generation_request(request: Request) -> ImageRequest:
    try:
        given = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise errors.InvalidRequest("The body is not valid JSON") from error
    return _validated(given)


async def _edit_request(request: Request) -> tuple[ImageRequest, bytes]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "multipart/form-data":
        raise errors.InvalidRequest("The body must be multipart/form-data")
    async with request.form(max_files=16, max_fields=40, max_part_size=100_000) as form:
        if "mask" in form:
            raise errors.InvalidRequest("mask: is not supported; leave it out")
        files = [f for key in ("image", "image[]") for f in form.getlist(key)]
        if len(files) != 1 or not isinstance(files[0], UploadFile):
            raise errors.InvalidRequest(f"image: exactly one file is needed, {len(files)} came")
        fields = {key: value for key, value in form.items() if isinstance(value, str)}
        return _validated(fields), uploads.check_bytes(await files[0].read())


def _validated(given: Any) -> ImageRequest:
    try:
        return ImageRequest.model_validate(given)
    except ValidationError as error:
        raise edge.invalid_request(error) from error


def router(catalog: Catalog, links: Links) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["OpenAI"], responses=ERRORS)
    generation_body = {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ImageRequest.model_json_schema()}},
        }
    }
    edit_schema = ImageRequest.model_json_schema()
    edit_schema["properties"]["image"] = {"type": "string", "format": "binary"}
    edit_schema["required"] = ["image"]
    edit_body = {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": edit_schema}},
        }
    }

    first = [Depends(owner_of)]  # before the body is read

    @routes.post("/images/generations", dependencies=first, openapi_extra=generation_body)
    async def generate_images(
        asked: Annotated[ImageRequest, Depends(_generation_request)],
        service: Serving,
        owner: Owner,
        request: Request,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        ask = translation.translate(catalog, asked, default_mode="free")
        return await _answer(service, owner, ask, None, request, links, idempotency_key)

    @routes.post("/images/edits", dependencies=first, openapi_extra=edit_body)
    async def edit_images(
        asked: Annotated[tuple[ImageRequest, bytes], Depends(_edit_request)],
        service: Serving,
        owner: Owner,
        request: Request,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        ask = translation.translate(catalog, asked[0], default_mode="restyle")
        return await _answer(service, owner, ask, asked[1], request, links, idempotency_key)

    @routes.get("/models")
    async def list_models(_: Owner) -> dict[str, Any]:
        return translation.models_answer(catalog)

    @routes.get("/models/{model_id}")
    async def get_model(model_id: str, _: Owner) -> dict[str, Any]:
        if model_id not in translation.model_ids(catalog):
            raise translation.ModelNotFound(f"The model '{model_id[:60]}' does not exist")
        return translation.model_entry(model_id)

    @routes.get(
        "/files/{generation_id}/{number}/{until}/{mark}",
        response_class=Response,
        summary="A picture by an address that was given out",
        include_in_schema=False,
    )
    async def get_file(
        generation_id: UUID, number: int, until: int, mark: str, service: Serving, request: Request
    ) -> Response:
        links.check(str(generation_id), number, until, mark)
        row = await service.stored_image(generation_id)
        return await picture_response(service, row, number, row.request.format, request)

    return routes


async def _answer(
    service: GenerationService,
    owner: str,
    ask: Ask,
    photo: bytes | None,
    request: Request,
    links: Links,
    key: str | None,
) -> Response:
    row, _ = await service.submit(uuid4(), owner, ask.request, photo, key=key, wait=True)
    if ask.stream:
        kind = "image_generation" if photo is None else "image_edit"
        events = _streamed(service, row, ask, kind, keep=comes_back(key))
        return StreamingResponse(events, headers=sse.HEADERS, media_type="text/event-stream")

    async def release(complete: bool) -> None:
        if not complete and not comes_back(key):
            await service.abandon(row)

    ended = await waiting.waited(request, service.finished(row), release)
    data = [
        await _picture(service, ended, number, ask, links, request)
        for number in range(ended.request.count)
    ]
    return JSONResponse(translation.images_answer(ask, data, _size(ended)))


async def _picture(
    service: GenerationService,
    row: GenerationRow,
    number: int,
    ask: Ask,
    links: Links,
    request: Request,
) -> dict[str, str]:
    if ask.as_url:
        base = str(service.public_url or request.base_url).rstrip("/")
        return {"url": base + links.path(str(row.id), number)}
    return {"b64_json": base64.b64encode(await service.image(row, number)).decode()}


async def _streamed(
    service: GenerationService, row: GenerationRow, ask: Ask, kind: str, *, keep: bool
) -> AsyncIterator[bytes]:
    """Partial pictures spread over the drawing, then one `completed` for each picture."""
    done = False
    try:
        async for event in _partials(service, row, ask, kind):
            yield _event(event)
        done = True
        ended = await service.finished(row)
        for number in range(ended.request.count):
            image = await service.image(ended, number)
            yield _event(translation.completed_event(kind, ask, image, _size(ended)))
    except errors.EaselError as error:
        yield format_sse_event(data_str=json.dumps(translation.error_body(error)[1]), event="error")
    finally:
        if not done and not keep:
            await asyncio.shield(service.abandon(row))


async def _partials(
    service: GenerationService, row: GenerationRow, ask: Ask, kind: str
) -> AsyncIterator[dict[str, Any]]:
    shown = 0
    size = ask.size
    async for event in service.events(row, previews=ask.partial_images > 0):
        due = service.preview_due(row, (shown + 1) / (ask.partial_images + 1))
        if isinstance(event.data, Preview) and due and shown < ask.partial_images:
            image = base64.b64decode(event.data.data)
            wanted = ask.request.format
            data = await asyncio.to_thread(encoding.as_format, image, wanted, f"Easel {VERSION}")
            yield translation.partial_event(kind, ask, shown, data, size)
            shown += 1


def _event(body: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json.dumps(body), event=str(body["type"]))


def _size(row: GenerationRow) -> str:
    if row.outcome is None:
        raise errors.Internal
    image = row.outcome.images[0]
    return f"{image.width}x{image.height}"
