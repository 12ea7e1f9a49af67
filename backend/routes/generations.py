"""Generations: accept, look, follow, fetch images, cancel, delete."""

from functools import partial
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from backend.routes import documentation
from backend.routes.context import (
    CLOSED,
    NOT_FOUND,
    OUTCOME_ERRORS,
    REQUEST_ERRORS,
    Accept,
    Body,
    IdempotencyKey,
    Owner,
    Service,
    abandon_on_disconnect,
    owner_of,
)
from backend.routes.images import ANY_FILE, image_response
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
from web import edge, errors, negotiation, sse, waiting
from workflows.catalog import Catalog

Wait = Annotated[
    float,
    Query(ge=0, le=60, allow_inf_nan=False, description="seconds to wait for the end, at most 60"),
]
Previews = Annotated[bool, Query(description="send the picture so far too, blurred")]


def router(catalog: Catalog) -> APIRouter:
    routes = APIRouter(
        tags=["generations"],
        dependencies=[Depends(owner_of)],  # before the body is read
        responses=CLOSED,
    )
    body = bodies.documented(catalog, GenerationRequest)
    routes.post(
        "/generate",
        summary="Draw and wait; the Accept header decides what the answer is",
        description=documentation.WAITING,
        response_model=Result,
        responses=REQUEST_ERRORS | OUTCOME_ERRORS | documentation.DRAWN,
        openapi_extra=body,
    )(generate)
    routes.put(
        "/generations/{generation_id}",
        summary="Accept a generation under your id; harmless when repeated",
        description="Choose a UUID; the same request under the same id is the same generation.",
        status_code=202,
        response_model=Generation,
        responses=REQUEST_ERRORS | documentation.ACCEPTED,
        openapi_extra=body,
    )(put_generation)
    routes.post(
        "/generations",
        summary="Accept a generation",
        description=documentation.TAKES_KEY,
        status_code=202,
        response_model=Generation,
        responses=REQUEST_ERRORS | documentation.ACCEPTED,
        openapi_extra=body,
    )(create_generation)
    routes.get(
        "/generations",
        summary="List generations, newest first",
        description="Of the caller's key; a page at a time.",
        responses=errors.documented(errors.InvalidRequest),
    )(list_generations)
    routes.get(
        "/generations/{generation_id}",
        summary="Look at a generation; with `wait`, when it has ended",
        description="With `wait` the answer comes at the end, or after that many seconds with the "
        "state of then: ask again while it is `queued` or `running`.",
        responses=NOT_FOUND,
    )(get_generation)
    routes.get(
        "/generations/{generation_id}/events",
        summary="Follow a generation: server-sent events",
        description=sse.DESCRIPTION,
        response_class=StreamingResponse,
        responses=NOT_FOUND | documentation.STREAM,
    )(follow_generation)
    routes.get(
        "/generations/{generation_id}/images/{number}",
        summary="Fetch an image",
        description="In the format it was drawn in, or the one that `Accept` or `format` names; "
        "whole or a range of it.",
        response_class=Response,
        responses=NOT_FOUND | documentation.IMAGE,
    )(get_image)
    routes.delete(
        "/generations/{generation_id}",
        summary="Cancel a generation, or delete one that has ended",
        description="Waits until the GPU has stopped, and says what happened. The pictures of a "
        "generation that has ended are deleted with it.",
        responses=NOT_FOUND,
    )(delete_generation)
    routes.delete(
        "/users",
        summary="Delete everything kept of a user, whatever the name",
        description="Programs that build addresses change names such as `..`, so that "
        "`/users/{user}` cannot reach them; this can. Empty: all unnamed users.",
    )(delete_user_by_query)
    routes.delete(
        "/users/{user:path}",
        summary="Delete everything kept of a user",
        description="Their generations with all pictures, and what was counted of them.",
    )(delete_user)
    return routes


async def generate(
    body: Body,
    service: Service,
    owner: Owner,
    request: Request,
    accept: Accept = "",
    idempotency_key: IdempotencyKey = None,
    previews: Previews = False,
) -> Response:
    kind = waiting.choose(accept, MEDIA_TYPES)
    wanted, photos = body
    if kind in MEDIA_TYPES:  # draw in the format that the answer will have
        wanted = wanted.model_copy(update={"format": MEDIA_TYPES[kind]})
    row, _ = await service.acceptance.accept(
        uuid4(), owner, wanted, photos, key=idempotency_key, wait=True
    )
    return await waiting.answer(
        request,
        kind,
        events=partial(service.events, row, previews=previews, with_images=True),
        response=partial(_result, service, row, kind, request),
        release=abandon_on_disconnect(service, row, idempotency_key),
    )


async def put_generation(
    generation_id: UUID, body: Body, service: Service, owner: Owner
) -> Response:
    return _accepted(service, *await service.acceptance.accept(generation_id, owner, *body))


async def create_generation(
    body: Body, service: Service, owner: Owner, idempotency_key: IdempotencyKey = None
) -> Response:
    accepted = await service.acceptance.accept(uuid4(), owner, *body, key=idempotency_key)
    return _accepted(service, *accepted)


async def list_generations(
    service: Service,
    owner: Owner,
    user: Annotated[
        str | None,
        Query(
            max_length=USER_LENGTH,
            pattern=USER_CHARACTERS,
            description="only this user's; empty: only unnamed users'",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="most generations of a page")] = 20,
    cursor: Annotated[
        str | None, Query(max_length=200, description="the `next_cursor` of the page before")
    ] = None,
) -> GenerationList:
    return await service.page(owner, user, limit, cursor)


async def get_generation(
    generation_id: UUID, service: Service, owner: Owner, request: Request, wait: Wait = 0
) -> Generation:
    row = await service.get(generation_id, owner)
    if not wait:
        return service.view(row)
    return await edge.unless_disconnected(request, service.ended_within(row, wait))


async def follow_generation(
    generation_id: UUID,
    service: Service,
    owner: Owner,
    previews: Previews = False,
    last_event_id: Annotated[
        str | None, Header(description="the id of the last event received")
    ] = None,
) -> Response:
    has_everything = last_event_id == sse.END
    try:
        row = await service.get(generation_id, owner)
    except errors.NotFound:
        if has_everything:
            return sse.nothing_more()
        raise
    if has_everything and row.ended is not None:
        return sse.nothing_more()
    after = sse.last_event_id(last_event_id)
    return sse.response(service.events(row, after=after, previews=previews))


async def get_image(
    generation_id: UUID,
    number: Annotated[int, Path(description="which of its images, from 0")],
    service: Service,
    owner: Owner,
    request: Request,
    image_format: Annotated[
        ImageFormat | None, Query(alias="format", description="convert it; wins over `Accept`")
    ] = None,
    accept: Accept = "",
) -> Response:
    row = await service.get(generation_id, owner)
    drawn = f"image/{row.request.format}"  # preferred where the caller accepts it
    kind = negotiation.best(accept, [drawn, *(k for k in MEDIA_TYPES if k != drawn), ANY_FILE])
    wanted = image_format or MEDIA_TYPES.get(kind or drawn, row.request.format)
    response = await image_response(service, row, number, wanted, request)
    if kind == ANY_FILE and "content-type" in response.headers:
        response.headers["Content-Type"] = ANY_FILE
    return response


async def delete_generation(generation_id: UUID, service: Service, owner: Owner) -> GenerationEnded:
    return await service.end(await service.get(generation_id, owner))


async def delete_user(
    user: Annotated[str, Path(max_length=USER_LENGTH, pattern=USER_CHARACTERS)],
    service: Service,
    owner: Owner,
) -> UserDeleted:
    return await service.delete_user(owner, user)


async def delete_user_by_query(
    user: Annotated[str, Query(max_length=USER_LENGTH, pattern=USER_CHARACTERS)],
    service: Service,
    owner: Owner,
) -> UserDeleted:
    return await service.delete_user(owner, user)


async def _result(
    service: GenerationService, row: GenerationRow, kind: str, request: Request
) -> Response:
    """Wait for the end, then answer with the first image or with everything as JSON."""
    ended = await service.finished(row)
    if kind in MEDIA_TYPES:
        return await image_response(service, ended, 0, MEDIA_TYPES[kind], request)
    result = await service.result(ended)
    return Response(result.model_dump_json(), media_type="application/json")


def _accepted(service: GenerationService, row: GenerationRow, new: bool) -> Response:
    return Response(
        service.view(row).model_dump_json(),
        202 if new else 200,
        headers={"Location": f"/generations/{row.public_id}"},
        media_type="application/json",
    )
