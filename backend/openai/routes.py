"""OpenAI's Images API: its clients work unchanged."""

import base64
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import StreamingResponse

from backend.openai import bodies, chat, elsewhere, failures
from backend.openai.answers import (
    CompletedImage,
    ImageItem,
    Images,
    Model,
    ModelList,
    OpenAIError,
    PartialImage,
    event_schema,
)
from backend.openai.calls import AnyCaller, Caller, KnownModels, SignedLinks, about
from backend.openai.requests import ImageCall, ImageRequest, translate
from backend.openai.streaming import ImageStream
from backend.routes.context import Owner, Service, owner_of
from backend.routes.images import image_response
from backend.storage.generations import GenerationRow
from web import content, errors, sse

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenAIError} for status in failures.STATUSES
}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Images,
        "description": "The images, or with `stream` their events",
        "headers": {
            "X-Easel-Prompt-Cut": {
                "description": "`kept=…, sent=…`: how many characters of the prompt are used, if "
                "it is longer than the model takes",
                "schema": {"type": "string"},
            }
        },
        "content": {"text/event-stream": {"schema": event_schema(PartialImage | CompletedImage)}},
    }
}
_KEY_FIRST = [Depends(owner_of)]
"""Checks the key before the body is read."""

router = APIRouter(tags=["OpenAI"])
_LOOK_ERRORS: dict[int | str, dict[str, Any]] = {
    status: _ERRORS[status] for status in (400, 401, 403, 404, 503)
}
_images = APIRouter(prefix="/v1")

GenerationBody = Annotated[ImageRequest, Depends(bodies.read_generation)]
EditBody = Annotated[bodies.Edit, Depends(bodies.read_edit)]


def is_openai(path: str) -> bool:
    """Whether OpenAI's clients call this path, so that they get errors in their shape."""
    return path == "/v1" or path.startswith("/v1/") or elsewhere.is_known(path)


def _body(*, with_images: bool) -> dict[str, Any]:
    """Return `openapi_extra` of a route that takes such a request."""
    kinds = {content.JSON_TYPE: ImageRequest.model_json_schema()}
    if with_images:
        kinds[content.FORM_TYPE] = ImageRequest.model_json_schema()
        file = {"type": "string", "format": "binary"}
        sent = {"type": "object", "properties": {"image_url": {"type": "string"}}}
        sent["description"] = "`image_url`: a data URL; addresses are not fetched"
        kinds[content.FORM_TYPE]["properties"]["image"] = {"type": "array", "items": file}
        kinds[content.FORM_TYPE]["required"] = ["image"]
        kinds[content.JSON_TYPE]["properties"]["images"] = {"type": "array", "items": sent}
        kinds[content.JSON_TYPE]["required"] = ["images"]
    shown = {kind: {"schema": schema} for kind, schema in reversed(kinds.items())}
    return {"requestBody": {"required": True, "content": shown}}


@_images.post(
    "/images/generations",
    summary="Draw from words",
    dependencies=_KEY_FIRST,
    responses=_ERRORS | _ANSWER,
    openapi_extra=_body(with_images=False),
)
async def generate_images(body: GenerationBody, caller: AnyCaller) -> Response:
    call = translate(caller.models, body)
    return await _answer(caller, call, is_edit=False)


@_images.post(
    "/images/edits",
    summary="Draw from a photo",
    dependencies=_KEY_FIRST,
    responses=_ERRORS | _ANSWER,
    openapi_extra=_body(with_images=True),
)
async def edit_images(sent: EditBody, caller: AnyCaller) -> Response:
    body, photos, mask = sent
    call = translate(caller.models, body, photos=photos, mask=mask, edits=True)
    return await _answer(caller, call, is_edit=True)


async def _answer(caller: Caller, call: ImageCall, *, is_edit: bool) -> Response:
    row = await caller.accept(call)
    if call.stream:
        response = sse.response(ImageStream(caller, row, call, is_edit).events())
    else:
        response = await _whole(caller, call, await caller.finished(row))
    response.headers.update(call.headers)
    return response


async def _whole(caller: Caller, call: ImageCall, row: GenerationRow) -> StreamingResponse:
    """Answer with all images: in base64, as links, or by default as both."""
    numbers = range(row.request.count)
    images: list[bytes | None] = [None for _ in numbers]
    urls: list[str | None] = [None for _ in numbers]
    if call.response_format != "url":
        images = [await caller.service.image(row, number) for number in numbers]
    if call.response_format != "b64_json":
        urls = [caller.url(row, number) for number in numbers]
    head = Images(**about(call, row).model_dump()).model_dump_json(exclude={"data"})
    return StreamingResponse(_json(head, images, urls), media_type="application/json")


def _json(head: str, images: list[bytes | None], urls: list[str | None]) -> Iterator[str]:
    """Yield the JSON of an answer: never more than one image in base64 is in memory."""
    yield head[:-1] + ',"data":['
    for number, (image, url) in enumerate(zip(images, urls, strict=True)):
        b64 = None if image is None else base64.b64encode(image).decode()
        yield ("," if number else "") + ImageItem(b64_json=b64, url=url).model_dump_json()
    yield "]}"


@_images.get("/models", summary="Models: modes and their styles", responses=_LOOK_ERRORS)
async def list_models(models: KnownModels, _: Owner) -> ModelList:
    return ModelList(data=models.all())


@_images.get(
    "/models/{model_id:path}", summary="One model, by any of its names", responses=_LOOK_ERRORS
)
async def get_model(model_id: str, models: KnownModels, _: Owner) -> Model:
    return models.get(model_id)


@_images.get(
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


router.include_router(_images)
router.include_router(chat.router, responses=_ERRORS)
router.include_router(elsewhere.router)
