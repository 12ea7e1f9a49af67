"""What a replica that does not lead does: hand requests on to the one that does.

Requests are held while the lead changes. One is safe to hand on twice: what has no id of its own
is given an idempotency key here.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.health import out_of_service
from backend.replication.leadership import ANSWER_S, CHECK_S, RELAYED_KEY, Leadership
from backend.storage.database import DatabaseAway
from web import edge
from web.errors import NoGpu

log = structlog.get_logger()

CHANGE_WAIT_S = 15.0
"""So long a request is held while there is no leader."""
AWAY_S = 2.0
"""So long it is held while the database does not answer."""
MAX_BREAKS = 5
"""A request under which so many leaders broke off is not handed to a further one."""
ENDS_S = CHECK_S + ANSWER_S + 1.0
"""After so long a leader that lost the lead has let go of its requests."""
MARK = "x-easel-relayed"
"""The header of a request that a replica handed on: nobody hands it on again."""
LOST = "x-easel-lead-lost"
"""The header of an answer that is none: who was to give it does not lead any more."""
_OWN_PATHS = ("/livez",)
_PROBES = ("/readyz", "/health")
_LAST_EVENTS = (b"event: result", b".completed", b"event: error")
_HOP_BY_HOP = ("host", "connection", "content-length", "transfer-encoding", "keep-alive")
_END: Message = {"type": "http.response.body", "body": b""}


class Relay:
    """ASGI middleware: answers here while leading, else hands the request to the leader."""

    def __init__(self, app: ASGIApp, leadership: Leadership) -> None:
        self.app = app
        self.leadership = leadership
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        timeout = httpx.Timeout(None, connect=2)
        self.http = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = scope["type"] != "http" or scope["path"] in _OWN_PATHS
        marked = not own and MARK in Headers(scope=scope)
        if own or self.leadership.leading:
            await self.app(scope, receive, self._telling(send) if marked else send)
        elif marked:
            nobody = Response(status_code=503, headers={LOST: "1"})
            await nobody(scope, receive, send)
        else:
            exchange = _Relayed(self, scope, receive, send)
            await exchange.run()

    def _telling(self, send: Send) -> Send:
        """As `send`; a refusal made because the lead was lost meanwhile is told to be one."""

        async def tell(message: Message) -> None:
            refused = message["type"] == "http.response.start" and message["status"] == 503
            if refused and not self.leadership.leading:
                MutableHeaders(scope=message)[LOST] = "1"
            await send(message)

        return tell


@dataclass
class _Relayed:
    """One request handed on, again and again until it is answered."""

    relay: Relay
    scope: Scope
    receive: Receive
    send: Send
    _started: bool = False
    """The beginning of an event stream has been sent."""
    _breaks: int = 0
    _hold_until: float = 0.0

    async def run(self) -> None:
        body = await self._read()
        headers = self._headers()
        gone = asyncio.create_task(self._until_gone())
        self._hold()
        try:
            while True:
                rest = await self._try(headers, body, gone)
                if gone.done():
                    return
                if rest is not None:
                    for message in rest:
                        await self.send(message)
                    return
                if self._is_enough():
                    break
                await self.relay.leadership.wait_for_change()
        finally:
            gone.cancel()
        if self._started:
            await self.send(_END)
        elif self._is_probe:
            answer = _probe_answer(self.scope["path"], away=self.relay.leadership.away_s > 0)
            await answer(self.scope, self.receive, self.send)
        elif self.relay.leadership.away_s:
            raise DatabaseAway
        else:
            raise NoGpu("The scheduling replica is being replaced", retry_after=5)

    @property
    def _is_probe(self) -> bool:
        return self.scope["path"] in _PROBES

    def _hold(self) -> None:
        self._hold_until = _now() + (0.0 if self._is_probe else CHANGE_WAIT_S)

    def _is_enough(self) -> bool:
        away = self.relay.leadership.away_s > AWAY_S
        return away or self._breaks >= MAX_BREAKS or _now() >= self._hold_until

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

    def _headers(self) -> Headers:
        headers = MutableHeaders(raw=list(self.scope["headers"]))
        for name in _HOP_BY_HOP:
            del headers[name]
        headers.update(edge.trace_headers())
        if self.scope["method"] == "POST" and "idempotency-key" not in headers:
            headers["idempotency-key"] = RELAYED_KEY + str(uuid.uuid4())
        return headers

    async def _try(
        self, headers: Headers, body: bytes, gone: asyncio.Task[None]
    ) -> list[Message] | None:
        """What remains to be sent; None to try again, or when the caller has `gone`."""
        leadership = self.relay.leadership
        url = leadership.leader_url
        work = (
            self._answer_here(headers, body)
            if leadership.leading
            else self._hand_on(url, headers, body)
        )
        handing = asyncio.create_task(work)
        left = asyncio.create_task(self._until_left(url))
        try:
            waiting: set[asyncio.Task[list[Message] | None] | asyncio.Task[None]]
            waiting = {handing, gone, left}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if handing.done():
                return handing.result()
            self._hold()
            return None
        finally:
            left.cancel()
            handing.cancel()
            await asyncio.wait({handing})

    async def _until_left(self, url: str | None) -> None:
        """Returns when another leads, and has for so long that whoever is at `url` would have
        hung up if it could."""
        await self.relay.leadership.until_led_by_another(url)
        await asyncio.sleep(ENDS_S)

    async def _hand_on(
        self, url: str | None, headers: Headers, body: bytes
    ) -> list[Message] | None:
        """As `_try`. A leader at our own address was our predecessor here, and has died."""
        if url is None or url == self.relay.leadership.own_url or MARK in headers:
            return None
        target = httpx.URL(url).raw_path.rstrip(b"/") + self.scope["raw_path"]
        if self.scope["query_string"]:
            target += b"?" + self.scope["query_string"]
        request = self.relay.http.build_request(
            self.scope["method"],
            url,
            headers=[*headers.raw, (MARK.encode(), b"1")],
            content=body,
            extensions={"target": target},  # as it was written: decoded, it can mean another path
        )
        try:
            async with _streamed(self.relay.http, request) as answer:
                return await self._pass_on(answer)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return None
        except httpx.HTTPError as error:
            log.info("relay_broke", leader=url, error=type(error).__name__)
            self._breaks += 1
            self._hold()
            return None

    async def _answer_here(self, headers: Headers, body: bytes) -> list[Message]:
        """The lead came to us meanwhile."""
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        goes_on = not self._started

        async def receive() -> Message:
            return unread.pop() if unread else await self.receive()

        async def send(message: Message) -> None:
            nonlocal goes_on
            if not self._started:
                await self.send(message)
            elif message["type"] == "http.response.start":
                goes_on = _is_stream(Headers(raw=message["headers"]))
            else:
                await self.send(message if goes_on else {**message, "body": b""})

        await self.relay.app({**self.scope, "headers": headers.raw}, receive, send)
        return []

    async def _pass_on(self, answer: httpx.Response) -> list[Message] | None:
        if LOST in answer.headers:
            return None
        raw = [(k.lower(), v) for k, v in answer.headers.raw if k.lower() != b"connection"]
        start = {"type": "http.response.start", "status": answer.status_code, "headers": raw}
        if not _is_stream(answer.headers):
            # Whole before the first byte: so a leader that dies in the middle is not noticed.
            content = await answer.aread()
            return [_END] if self._started else [start, {**_END, "body": content}]
        if not self._started:
            await self.send(start)
            self._started = True
        ended = False
        async for events in _whole_events(answer.aiter_raw()):
            ended = ended or any(mark in events for mark in _LAST_EVENTS)
            await self.send({**_END, "body": events, "more_body": True})
        return [_END] if ended else None


def _probe_answer(path: str, *, away: bool) -> Response:
    """Health or readiness while nobody leads."""
    why = {"database": "no answer"} if away else {"scheduling": "no replica leads now"}
    if path == "/health":
        return Response(out_of_service(why).model_dump_json(), media_type="application/json")
    return JSONResponse({"ready": False, "checks": why}, 503)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _is_stream(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").startswith("text/event-stream")


async def _whole_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """To the last blank line: what follows of an event that breaks off, the next leader sends."""
    pending = bytearray()
    async for chunk in chunks:
        pending += chunk
        blank = pending.rfind(b"\n\n", max(0, len(pending) - len(chunk) - 1))
        if blank >= 0:
            yield bytes(pending[: blank + 2])
            del pending[: blank + 2]


@asynccontextmanager
async def _streamed(
    http: httpx.AsyncClient, request: httpx.Request
) -> AsyncIterator[httpx.Response]:
    answer = await http.send(request, stream=True)
    try:
        yield answer
    finally:
        await answer.aclose()
