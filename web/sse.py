"""Server-sent events: written from an async iterator with a comment when it is quiet, and read."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel
from starlette.responses import StreamingResponse

HEARTBEAT_S = 10.0
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(frozen=True)
class Event:
    name: str
    data: BaseModel
    id: int | None = None

    def encode(self) -> bytes:
        number = None if self.id is None else str(self.id)
        return format_sse_event(data_str=self.data.model_dump_json(), event=self.name, id=number)


def response(
    events: AsyncIterator[Event], status: int = 200, *, heartbeat_s: float = HEARTBEAT_S
) -> StreamingResponse:
    """An event stream, never silent for longer than `heartbeat_s`; `events` is closed when the
    client hangs up."""
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


@dataclass(frozen=True)
class Message:
    """An event as it was read."""

    event: str
    data: str


async def read(chunks: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    """The events of a stream that one of our services writes: lines end with a plain newline."""
    rest = b""
    async for chunk in chunks:
        *frames, rest = (rest + chunk).split(b"\n\n")
        for frame in frames:
            message = _message(frame)
            if message.data:
                yield message


def _message(frame: bytes) -> Message:
    event, data = "message", []
    for line in frame.decode().split("\n"):
        field, _, value = line.partition(":")
        if field == "event":
            event = value.removeprefix(" ")
        elif field == "data":
            data.append(value.removeprefix(" "))
    return Message(event, "\n".join(data))


def last_event_id(header: str | None) -> int:
    """The `Last-Event-ID` of a client that comes back, or -1."""
    return int(header) if header and re.fullmatch(r"[0-9]{1,18}", header) else -1
