"""Answer a caller who waits for images: as JSON, as bytes or as events, as `Accept` says."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

from fastapi import Request, Response

from web import edge, negotiation, sse
from web.sse import Event

T = TypeVar("T")
Release = Callable[[bool], Awaitable[None]]
"""Called once when the caller is served or gone; its argument says whether they got everything."""

JSON = "application/json"
EVENTS = "text/event-stream"


def choose(accept: str, image_types: Iterable[str]) -> str:
    """Return the preferred media type. Raises InvalidRequest when none is acceptable."""
    return negotiation.choose(accept, [JSON, *image_types, EVENTS])


async def answer(
    request: Request,
    kind: str,
    *,
    events: Callable[[], AsyncIterator[Event]],
    response: Callable[[], Awaitable[Response]],
    release: Release,
) -> Response:
    """Answer with a stream of `events`, or with `response` once that is there."""
    if kind == EVENTS:
        return sse.response(followed(events(), release))
    return await waited(request, response(), release)


async def waited(request: Request, work: Awaitable[T], release: Release) -> T:
    """Return the result of `work`. Raises ClientGone when the caller hangs up first."""
    complete = False
    try:
        result = await edge.unless_disconnected(request, work)
        complete = True
        return result
    finally:
        await asyncio.shield(release(complete))


async def followed(events: AsyncIterator[Event], release: Release) -> AsyncGenerator[Event, None]:
    """Yield the events; they are complete with their `result`."""
    complete = False
    try:
        async for event in events:
            complete = event.name == "result"
            yield event
    finally:
        await asyncio.shield(release(complete))
