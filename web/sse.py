"""Server-sent events from an async iterator, with a comment whenever it is quiet."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

HEARTBEAT_S = 10.0
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
END = "end"
"""The id of a stream's last event. Browsers reconnect after it too, and stop only at a 204."""


NOTHING_MORE = "The client has the last event already"
DESCRIPTION = """\
Events: `state` whenever status or position changes, `progress`, `preview` (with `previews=true`; in
modes that take no photo), and at last `result`. Reconnect with the `Last-Event-ID` received: what
was missed follows. A client that has the `result` gets 204: there is nothing more."""


@dataclass(frozen=True)
class Event:
    name: str
    data: BaseModel
    id: int | str | None = None

    def encode(self) -> bytes:
        number = None if self.id is None else str(self.id)
        return format_sse_event(data_str=self.data.model_dump_json(), event=self.name, id=number)


def response(
    events: AsyncIterator[Event], status: int = 200, *, heartbeat_s: float = HEARTBEAT_S
) -> StreamingResponse:
    """Return an event stream that is never silent for longer than `heartbeat_s` seconds.

    `events` is closed when the client hangs up.
    """
    return StreamingResponse(
        _encoded(events, heartbeat_s), status, headers=HEADERS, media_type="text/event-stream"
    )


async def _encoded(events: AsyncIterator[Event], heartbeat_s: float) -> AsyncIterator[bytes]:
    following: asyncio.Task[Event] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({following}, timeout=heartbeat_s)
            if not done:
                yield KEEPALIVE_COMMENT
                continue
            try:
                event = following.result()
            except StopAsyncIteration:
                return
            following = None
            yield event.encode()
    finally:
        if following is not None and not following.done():
            following.cancel()
            await asyncio.wait({following})
        if hasattr(events, "aclose"):
            await events.aclose()


def nothing_more() -> Response:
    """Answer a client that reconnects after the last event: it must not come again."""
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


def last_event_id(header: str | None) -> int:
    """Return the `Last-Event-ID` of a client that reconnects, or -1."""
    return int(header) if header and re.fullmatch(r"[0-9]{1,18}", header) else -1
