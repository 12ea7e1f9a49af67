"""Generations: accept, look, follow, take the pictures, cancel, delete."""

from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from backend.routes.context import (
    NOT_FOUND,
    OUTCOME_ERRORS,
    REQUEST_ERRORS,
    Accept,
    Body,
    IdempotencyKey,
    Owner,
    Serving,
    comes_back,
    owner_of,
)
from backend.routes.images import picture_response
from backend.schemas import (
    USER_CHARACTERS,
    USER_LENGTH,
    Generation,
    GenerationEnded,
    GenerationList,
    GenerationRequest,
    UserDeleted,
)
from backend.service import GenerationService
from backend.storage.generations import GenerationRow
from gpu_server import bodies
from gpu_server.pictures.formats import MEDIA_TYPES, ImageFormat
from gpu_server.schemas import Result
from web import errors, negotiation, sse, waiting
from workflows.catalog import Catalog

WAITING = """\
Hanging up cancels the drawing. So does a proxy that cuts requests at a time limit (often 60 to
100 s): behind one, use `PUT /generations/{id}` under an id of yours, then its `/events` (taken up
again with `Last-Event-ID` when cut) or `GET /generations/{id}`. Or send an `Idempotency-Key`: then
it goes on, and the same request under the same key waits on for the same pictures."""


def router(catalog: Catalog) -> APIRouter:
    routes = APIRouter(
        tags=["generations"],
        dependencies=[Depends(owner_of)],  # before the body is read
        responses=errors.documented(errors.Unauthorized),
    )
    body = bodies.documented(catalog, GenerationRequest)
    _add_generate(routes, body)
    _add_accepting(routes, body)
    _add_looking(routes)
    _add_ending(routes)
    return routes


def _add_generate(routes: APIRouter, body_schema: dict[str, Any]) -> None:
    @routes.post(
        "/generate",
        summary="Draw and wait; `Accept` decides the answer",
        description=WAITING,
        response_model=Result,
        responses=REQUEST_ERRORS | OUTCOME_ERRORS | waiting.documented(MEDIA_TYPES),
        openapi_extra=body_schema,
    )
    async def generate(
        body: Body,
        service: Serving,
        owner: Owner,
        request: Request,
        accept: Accept = "",
        idempotency_key: IdempotencyKey = None,
        previews: bool = False,
    ) -> Response:
        asked, photo = body
        kind = waiting.choose(accept, MEDIA_TYPES)
        if kind in MEDIA_TYPES:
            asked = asked.model_copy(update={"format": MEDIA_TYPES[kind]})
        row, _ = await service.submit(uuid4(), owner, asked, photo, key=idempotency_key, wait=True)

        async def respond() -> Response:
            ended = await service.finished(row)
            if kind in MEDIA_TYPES:
                return await picture_response(service, ended, 0, MEDIA_TYPES[kind], request)
            result = await service.result(ended)
            return Response(result.model_dump_json(), media_type="application/json")

        async def release(complete: bool) -> None:
            if not complete and not comes_back(idempotency_key):
                await service.abandon(row)

        return await waiting.answer(
            request,
            kind,
            events=lambda: service.events(row, previews=previews, with_images=True),
            response=respond,
            release=release,
        )


def _add_accepting(routes: APIRouter, body_schema: dict[str, Any]) -> None:
    def accepted(service: GenerationService, row: GenerationRow, new: bool) -> Response:
        return Response(
            service.view(row).model_dump_json(),
            202 if new else 200,
            headers={"Location": f"/generations/{row.id}"},
            media_type="application/json",
        )

    @routes.put(
        "/generations/{generation_id}",
        summary="Accept a generation under your id; harmless when repeated",
        status_code=202,
        response_model=Generation,
        responses=REQUEST_ERRORS | {200: {"model": Generation, "description": "Known already"}},
        openapi_extra=body_schema,
    )
    async def put_generation(
        generation_id: UUID, body: Body, service: Serving, owner: Owner
    ) -> Response:
        return accepted(service, *await service.submit(generation_id, owner, *body))

    @routes.post(
        "/generations",
        summary="Accept a generation",
        status_code=202,
        response_model=Generation,
        responses=REQUEST_ERRORS | {200: {"model": Generation, "description": "Known already"}},
        openapi_extra=body_schema,
    )
    async def post_generation(
        body: Body, service: Serving, owner: Owner, idempotency_key: IdempotencyKey = None
    ) -> Response:
        row, new = await service.submit(uuid4(), owner, *body, key=idempotency_key)
        return accepted(service, row, new)


def _add_looking(routes: APIRouter) -> None:
    @routes.get(
        "/generations", summary="Newest first", responses=errors.documented(errors.InvalidRequest)
    )
    async def list_generations(
        service: Serving,
        owner: Owner,
        user: Annotated[str | None, Query(max_length=USER_LENGTH, pattern=USER_CHARACTERS)] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        cursor: Annotated[str | None, Query(max_length=200)] = None,
    ) -> GenerationList:
        return await service.page(owner, user, limit, cursor)

    @routes.get("/generations/{generation_id}", responses=NOT_FOUND)
    async def get_generation(generation_id: UUID, service: Serving, owner: Owner) -> Generation:
        return service.view(await service.get(generation_id, owner))

    @routes.get(
        "/generations/{generation_id}/events",
        summary="Server-sent events: state, progress, preview, result",
        response_class=StreamingResponse,
        responses=NOT_FOUND,
    )
    async def get_events(
        generation_id: UUID,
        service: Serving,
        owner: Owner,
        previews: bool = False,
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        row = await service.get(generation_id, owner)
        after = sse.last_event_id(last_event_id)
        return sse.response(service.events(row, after=after, previews=previews))

    @routes.get(
        "/generations/{generation_id}/images/{number}",
        response_class=Response,
        responses=NOT_FOUND
        | {200: {"content": {kind: {} for kind in MEDIA_TYPES}}, 206: {}, 304: {}, 416: {}},
    )
    async def get_image(
        generation_id: UUID,
        number: int,
        service: Serving,
        owner: Owner,
        request: Request,
        image_format: Annotated[ImageFormat | None, Query(alias="format")] = None,
        accept: Accept = "",
    ) -> Response:
        row = await service.get(generation_id, owner)
        wanted = image_format or _wanted(accept, row)
        return await picture_response(service, row, number, wanted, request)


def _wanted(accept: str, row: GenerationRow) -> ImageFormat:
    """As drawn where the caller takes that."""
    own = f"image/{row.request.format}"
    kind = negotiation.best(accept, [own, *(k for k in MEDIA_TYPES if k != own)])
    return MEDIA_TYPES[kind or own]


def _add_ending(routes: APIRouter) -> None:
    @routes.delete(
        "/generations/{generation_id}",
        summary="Cancel it, or delete it with its pictures when it has ended",
        responses=NOT_FOUND,
    )
    async def delete_generation(
        generation_id: UUID, service: Serving, owner: Owner
    ) -> GenerationEnded:
        return await service.end(await service.get(generation_id, owner))

    @routes.delete("/users/{user}", summary="Delete everything kept of a user")
    async def delete_user(
        user: Annotated[str, Path(max_length=USER_LENGTH, pattern=USER_CHARACTERS)],
        service: Serving,
        owner: Owner,
    ) -> UserDeleted:
        return await service.delete_user(owner, user)
