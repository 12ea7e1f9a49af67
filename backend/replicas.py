"""Several backends on one PostgreSQL: one schedules, all serve.

The replica that holds an advisory lock leads: it schedules and answers. The others hand requests
on to it, and hold them while the lead changes: PostgreSQL frees the lock of a process that dies,
and whoever takes it resumes the durable workflows. A request is safe to hand on twice: what has
no id of its own is given an idempotency key here.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
import psycopg
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.database import CONNECT_S, DatabaseAway
from backend.platform import out_of_service
from web import edge
from web.errors import NoGpu

log = structlog.get_logger()

LOCK = 0x4541_5345
"""The advisory lock's number: 'EASE'."""
TRY_S = 0.5
CHECK_S = 1.0
CHANGE_WAIT_S = 15.0
"""So long a request is held while there is no leader."""
AWAY_S = 2.0
"""So long it is held while the database does not answer."""
_OWN_PATHS = ("/livez",)
_PROBES = ("/readyz", "/health")
_LAST_EVENTS = (b"event: result", b".completed", b"event: error")
_HOP_BY_HOP = ("host", "connection", "content-length", "transfer-encoding", "keep-alive")

RELAYED_KEY = "relayed-"
"""How keys begin that a replica gave, so that a caller who hangs up still stops his generation."""

Serve = Callable[[], AbstractAsyncContextManager[None]]


@dataclass
class Leadership:
    """Whether this replica leads, and who does otherwise."""

    database_url: str
    own_url: str
    leader_url: str | None = None
    leading: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _away_since: float | None = None

    @property
    def away_s(self) -> float:
        """For how long the database has not answered."""
        return 0.0 if self._away_since is None else time.monotonic() - self._away_since

    async def run(self, serve: Serve) -> None:
        """Strive for the lead and `serve` while having it, until cancelled."""
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self.database_url, autocommit=True, connect_timeout=CONNECT_S
                ) as connection:
                    await _prepare(connection)
                    self._away_since = None
                    await self._strive(connection, serve)
            except (psycopg.OperationalError, DatabaseAway, TimeoutError) as error:
                if self._away_since is None:
                    self._away_since = time.monotonic()
                    log.warning("database_away", error=type(error).__name__)
            self._set(False, None)
            await asyncio.sleep(TRY_S)

    async def _strive(self, connection: psycopg.AsyncConnection, serve: Serve) -> None:
        while not await _lock(connection):
            self._set(False, await _leader(connection))
            await asyncio.sleep(TRY_S)
        await _announce(connection, self.own_url)
        log.info("leading", url=self.own_url)
        async with serve():
            self._set(True, self.own_url)
            try:
                while True:
                    await asyncio.sleep(CHECK_S)
                    async with asyncio.timeout(CONNECT_S):
                        await connection.execute("SELECT 1")
            finally:
                self._set(False, None)
                log.info("lead_lost", url=self.own_url)

    def _set(self, leading: bool, url: str | None) -> None:
        if (leading, url) != (self.leading, self.leader_url):
            self.leading, self.leader_url = leading, url
            self.changed.set()
            self.changed = asyncio.Event()

    async def wait_for_change(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(TRY_S):
                await self.changed.wait()


async def _prepare(connection: psycopg.AsyncConnection) -> None:
    with suppress(psycopg.errors.UniqueViolation):  # two replicas at once
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS leader (one INTEGER PRIMARY KEY, url TEXT NOT NULL)"
        )


async def _lock(connection: psycopg.AsyncConnection) -> bool:
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
    row = await cursor.fetchone()
    return bool(row and row[0])


async def _announce(connection: psycopg.AsyncConnection, url: str) -> None:
    await connection.execute(
        "INSERT INTO leader VALUES (1, %s) ON CONFLICT (one) DO UPDATE SET url = EXCLUDED.url",
        (url,),
    )


async def _leader(connection: psycopg.AsyncConnection) -> str | None:
    row = await (await connection.execute("SELECT url FROM leader")).fetchone()
    return str(row[0]) if row else None


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
        if own or self.leadership.leading:
            await self.app(scope, receive, send)
        else:
            exchange = _Relayed(self, scope, receive, send)
            await exchange.run()


@dataclass
class _Relayed:
    """One request handed on, again and again until it is answered."""

    relay: Relay
    scope: Scope
    receive: Receive
    send: Send
    _started: bool = False

    async def run(self) -> None:
        body = await self._read()
        headers = self._headers()
        probe = self.scope["path"] in _PROBES
        deadline = time.monotonic() + (0.0 if probe else CHANGE_WAIT_S)
        gone = asyncio.create_task(self._until_gone())
        try:
            while True:
                handing = asyncio.create_task(self._hand_on(headers, body))
                waiting: set[asyncio.Task[bool] | asyncio.Task[None]] = {handing, gone}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if not handing.done():
                    handing.cancel()
                    await asyncio.wait({handing})
                    return
                if handing.result():
                    return
                if self._started:
                    deadline = time.monotonic() + CHANGE_WAIT_S
                if time.monotonic() >= deadline or self.relay.leadership.away_s > AWAY_S:
                    break
                await self.relay.leadership.wait_for_change()
        finally:
            gone.cancel()
        if probe:
            answer = _probe_answer(self.scope["path"], away=self.relay.leadership.away_s > 0)
            await answer(self.scope, self.receive, self.send)
        elif not self._started:
            if self.relay.leadership.away_s:
                raise DatabaseAway
            raise NoGpu("The scheduling replica is being replaced", retry_after=5)

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

    async def _hand_on(self, headers: Headers, body: bytes) -> bool:
        """True when answered to the end; False to try again."""
        leadership = self.relay.leadership
        if leadership.leading:
            await self._answer_here(headers, body)
            return True
        if leadership.leader_url is None:
            return False
        query = self.scope["query_string"].decode()
        url = leadership.leader_url + self.scope["path"] + (f"?{query}" if query else "")
        request = self.relay.http.build_request(
            self.scope["method"], url, headers=headers.raw, content=body
        )
        try:
            async with _streamed(self.relay.http, request) as answer:
                return await self._pass_on(answer)
        except httpx.HTTPError as error:
            log.info("relay_broke", leader=leadership.leader_url, error=type(error).__name__)
            return False

    async def _answer_here(self, headers: Headers, body: bytes) -> None:
        """The lead came to us meanwhile."""
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if sent:
                return await self.receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] != "http.response.start" or not self._started:
                await self.send(message)

        await self.relay.app({**self.scope, "headers": headers.raw}, receive, send)

    async def _pass_on(self, answer: httpx.Response) -> bool:
        stream = answer.headers.get("content-type", "").startswith("text/event-stream")
        if not self._started:
            raw = [(k.lower(), v) for k, v in answer.headers.raw if k.lower() != b"connection"]
            start = {"type": "http.response.start", "status": answer.status_code, "headers": raw}
            if stream:
                await self.send(start)
                self._started = True
        if not stream:
            # Whole before the first byte: so a leader that dies in the middle is not noticed.
            content = await answer.aread()
            await self.send(start)
            await self.send({"type": "http.response.body", "body": content})
            return True
        ended, tail = False, b""
        async for chunk in answer.aiter_raw():
            seen = tail + chunk
            ended = ended or any(mark in seen for mark in _LAST_EVENTS)
            tail = seen[-32:]
            await self.send({"type": "http.response.body", "body": chunk, "more_body": True})
        if ended:
            await self.send({"type": "http.response.body", "body": b""})
        return ended


def _probe_answer(path: str, *, away: bool) -> Response:
    """Health or readiness while nobody leads."""
    why = {"database": "no answer"} if away else {"scheduling": "no replica leads now"}
    if path == "/health":
        return Response(out_of_service(why).model_dump_json(), media_type="application/json")
    return JSONResponse({"ready": False, "checks": why}, 503)


@asynccontextmanager
async def _streamed(
    http: httpx.AsyncClient, request: httpx.Request
) -> AsyncIterator[httpx.Response]:
    answer = await http.send(request, stream=True)
    try:
        yield answer
    finally:
        await answer.aclose()
