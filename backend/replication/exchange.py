"""One request that a replica hands on, to one leader after another, until it is answered.

Handing a request on twice does no harm: a POST without an idempotency key gets one here.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.replication.leadership import ANSWER_S, CHECK_S, RELAYED_KEY, Leadership
from web import edge

log = structlog.get_logger()

RELAYED_HEADER = "x-easel-relayed"
"""Marks a request that a replica has handed on: no other replica hands it on again."""
LEAD_LOST_HEADER = "x-easel-lead-lost"
"""Marks a 503 that means "no longer the leader; retry elsewhere"."""

_AWAY_S = 2.0
"""How long to hold a request while the database does not answer."""
_MAX_BREAKS = 5
"""Give up on a request after this many leaders broke off while answering it."""
_RELEASE_S = CHECK_S + ANSWER_S + 1.0
"""How long a leader that lost the lead may take to notice and release its requests."""
_HOP_BY_HOP = ("host", "connection", "content-length", "transfer-encoding", "keep-alive")
_CHECKED_HERE = ("origin", "sec-fetch-site")
"""What the leader would compare with the address that it is asked at."""
_LAST_EVENTS = (
    b"event: result",
    b".completed",
    b"event: error",
    b'data: {"jsonrpc":"2.0","id":',  # of MCP: notifications have no id
)
_BLANK_LINES = (b"\n\n", b"\n\r\n")
_END: Message = {"type": "http.response.body", "body": b""}


@dataclass(kw_only=True)
class Exchange:
    """`hold_s` is how long to hold the request while nobody leads."""

    app: ASGIApp
    leadership: Leadership
    http: httpx.AsyncClient
    scope: Scope
    receive: Receive
    send: Send
    hold_s: float
    _started: bool = False
    """The beginning of an event stream has been sent."""
    _breaks: int = 0
    _hold_until: float = 0.0

    async def run(self) -> bool:
        """Return whether the request was answered or its caller is gone."""
        body = await self._read()
        headers = self._relayed_headers()
        gone = asyncio.create_task(self._until_gone())
        self._hold()
        try:
            while True:
                rest = await self._try(headers, body, gone)
                if gone.done():
                    return True
                if rest is not None:
                    for message in rest:
                        await self.send(message)
                    return True
                if self._is_hopeless():
                    break
                await self.leadership.wait_for_change()
        finally:
            gone.cancel()
        if self._started:
            await self.send(_END)
        return self._started

    def _hold(self) -> None:
        self._hold_until = asyncio.get_running_loop().time() + self.hold_s

    def _is_hopeless(self) -> bool:
        away = self.leadership.away_s > _AWAY_S
        held = asyncio.get_running_loop().time() >= self._hold_until
        return away or held or self._breaks >= _MAX_BREAKS

    async def _read(self) -> bytes:
        parts = []
        while True:
            message = await self.receive()
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                return b"".join(parts)

    async def _until_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def _relayed_headers(self) -> Headers:
        headers = MutableHeaders(raw=list(self.scope["headers"]))
        for name in (*_HOP_BY_HOP, *_CHECKED_HERE):
            del headers[name]
        headers.update(edge.trace_headers())
        if self.scope["method"] == "POST" and "idempotency-key" not in headers:
            headers["idempotency-key"] = RELAYED_KEY + str(uuid.uuid4())
        return headers

    async def _try(
        self, headers: Headers, body: bytes, gone: asyncio.Task[None]
    ) -> list[Message] | None:
        """Return what remains to be sent; None to try again, or when the caller has `gone`."""
        url = self.leadership.leader_url
        leading = self.leadership.leading
        answering = asyncio.create_task(
            self._answer_here(headers, body) if leading else self._hand_on(url, headers, body)
        )
        replaced = asyncio.create_task(self._until_replaced(url))
        try:
            waiting: set[asyncio.Task[list[Message] | None] | asyncio.Task[None]]
            waiting = {answering, gone, replaced}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                return answering.result()
            self._hold()
            return None
        finally:
            replaced.cancel()
            answering.cancel()
            await asyncio.wait({answering})

    async def _until_replaced(self, url: str | None) -> None:
        """Wait until another leads and the old leader, if it could, would have hung up."""
        await self.leadership.until_led_by_another(url)
        await asyncio.sleep(_RELEASE_S)

    async def _hand_on(
        self, url: str | None, headers: Headers, body: bytes
    ) -> list[Message] | None:
        """Ask the leader at `url`; as `_try`."""
        # A leader under our own address was this replica's predecessor, which has died.
        if url is None or url == self.leadership.own_url or RELAYED_HEADER in headers:
            return None
        target = httpx.URL(url).raw_path.rstrip(b"/") + self.scope["raw_path"]
        if self.scope["query_string"]:
            target += b"?" + self.scope["query_string"]
        try:
            async with self.http.stream(
                self.scope["method"],
                url,
                headers=[*headers.raw, (RELAYED_HEADER.encode(), b"1")],
                content=body,
                extensions={"target": target},  # as it came: decoded, it can mean another path
            ) as answer:
                return await self._pass_on(answer)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return None
        except httpx.HTTPError as error:
            log.info("relay_broken", leader=url, error=type(error).__name__)
            self._breaks += 1
            self._hold()
            return None

    async def _answer_here(self, headers: Headers, body: bytes) -> list[Message]:
        """Answer in this process, which leads by now."""
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        continues = not self._started

        async def receive() -> Message:
            return unread.pop() if unread else await self.receive()

        async def send(message: Message) -> None:
            nonlocal continues
            if not self._started:
                await self.send(message)
            elif message["type"] == "http.response.start":
                continues = _is_stream(Headers(raw=message["headers"]))
            else:
                await self.send(message if continues else {**message, "body": b""})

        await self.app({**self.scope, "headers": headers.raw}, receive, send)
        return []

    async def _pass_on(self, answer: httpx.Response) -> list[Message] | None:
        if LEAD_LOST_HEADER in answer.headers:
            return None
        raw = [(k.lower(), v) for k, v in answer.headers.raw if k.lower() != b"connection"]
        start = {"type": "http.response.start", "status": answer.status_code, "headers": raw}
        if not _is_stream(answer.headers):
            # Read whole before the first byte is sent: then a leader may die while answering.
            content = await answer.aread()
            return [_END] if self._started else [start, {**_END, "body": content}]
        if not self._started:
            await self.send(start)
            self._started = True
        ended = False
        async for events in _whole_events(answer.aiter_raw()):
            ended = ended or any(name in events for name in _LAST_EVENTS)
            await self.send({**_END, "body": events, "more_body": True})
        return [_END] if ended else None


def _is_stream(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").startswith("text/event-stream")


async def _whole_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield whole events only. The next leader sends an event that breaks off again."""
    pending = bytearray()
    async for chunk in chunks:
        pending += chunk
        new = max(0, len(pending) - len(chunk) - 2)
        whole = max(pending.rfind(blank, new) + len(blank) for blank in _BLANK_LINES)
        if whole > 2:
            yield bytes(pending[:whole])
            del pending[:whole]
