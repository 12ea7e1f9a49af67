"""The outermost layer of a service: ids in, headers out, body limit, one log line per request."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog
from fastapi import Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.api.cross_origin import RESOURCE_POLICY
from web.errors import EaselError, ForeignRequest, Internal, TooLarge
from web.same_origin import SameOrigin

log = structlog.get_logger()


class ClientGone(Exception):
    """The client hung up: nobody is left to answer."""


Renderer = Callable[[EaselError, Request, str], Response]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")
_SIGNED_LINK = re.compile(r"(/v1/files(?:/[^/]*){3}/).*")
"""An address whose last part admits anybody for an hour: it is left out of the log."""
_SLASHES = re.compile("/{2,}")
_QUIET = ("/livez", "/readyz", "/health", "/metrics")
_SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}

LINGER_S = 2.0
"""How long to drain a refused body before closing the connection."""


@dataclass(eq=False)
class Edge:
    """ASGI middleware around everything: no error leaves it as plain text or with a traceback."""

    app: ASGIApp
    max_body: int
    needs_key: bool
    same_origin: SameOrigin
    render: Renderer
    verbatim: str
    """The path below which a caller's own text follows, whose slashes count; or empty."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)  # no service has a WebSocket of its own
            return
        headers, scope = Headers(scope=scope), self._tidied(scope)
        ids = _ids(headers)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**ids)
        is_head = scope["method"] == "HEAD"
        shown_by = "cross-origin" if _is_signed_link(scope) else "same-site"
        exchange = Exchange(receive, send, ids["request_id"], self.max_body, is_head, shown_by)
        began = time.perf_counter()
        try:
            await self._handle(scope, exchange, headers.get("content-length", ""))
        finally:
            if scope["path"] not in _QUIET:
                log.info(
                    "request",
                    method=scope["method"],
                    path=_loggable(scope["path"]),
                    status=exchange.status or 499,
                    ms=round((time.perf_counter() - began) * 1000, 1),
                )

    async def _handle(self, scope: Scope, exchange: "Exchange", declared: str) -> None:
        try:
            if not exchange.declares_too_much(declared):
                await self.app(self._admitted(scope), exchange.receive, exchange.send)
        except ClientGone:
            pass
        except Exception as error:  # the outermost edge
            if not exchange.overflowed:
                await self._answer_fault(scope, exchange, error)
        if exchange.overflowed:
            response = self.render(exchange.too_large(), Request(scope), exchange.request_id)
            await exchange.refuse_body(response)

    def _tidied(self, scope: Scope) -> Scope:
        """Merge repeated slashes: a base URL that ends in one is often joined to a path by hand."""
        if "//" not in scope["path"]:
            return scope
        path = "/" + scope["path"].lstrip("/")
        if not (self.verbatim and path.startswith(self.verbatim)):
            path = _SLASHES.sub("/", path)
        return {**scope, "path": path}

    def _admitted(self, scope: Scope) -> Scope:
        """Return the scope for the routes. Raises ForeignRequest."""
        if not self.needs_key:
            reason = self.same_origin.refusal(scope, shown_anywhere=_is_signed_link(scope))
            if reason is not None:
                raise ForeignRequest(reason)
        elif not self.same_origin.knows(Headers(scope=scope)):
            scope = _with_own_host(scope)
        return _as_get(scope)

    async def _answer_fault(self, scope: Scope, exchange: "Exchange", error: Exception) -> None:
        """Answer with the error; log an unexpected one with its id and show nothing of it."""
        if isinstance(error, ClientDisconnect):
            return  # the caller hung up while sending the body
        if not isinstance(error, EaselError):  # an EaselError here comes from another middleware
            path = _loggable(scope["path"])
            log.exception("unhandled", path=path, error=type(error).__name__)
        if exchange.status:
            raise error
        shown = error if isinstance(error, EaselError) else Internal()
        response = self.render(shown, Request(scope), exchange.request_id)
        await response(scope, exchange.receive, exchange.send)


@dataclass(eq=False)
class Exchange:
    """One request and its answer: counts the body while reading, adds headers to the answer."""

    incoming: Receive
    outgoing: Send
    request_id: str
    max_body: int
    without_body: bool
    """Whether the answer ends after its headers, as for HEAD."""
    shown_by: str
    """Whose pages may show the answer, in the words of `Cross-Origin-Resource-Policy`."""
    read: int = 0
    overflowed: bool = False
    status: int = 0
    _ended: bool = False

    def declares_too_much(self, length: str) -> bool:
        self.overflowed = bool(_WHOLE_NUMBER.fullmatch(length)) and int(length) > self.max_body
        return self.overflowed

    async def receive(self) -> Message:
        message = await self.incoming()
        if message["type"] == "http.request":
            self.read += len(message.get("body", b""))
            if self.read > self.max_body:
                self.overflowed = True
                raise self.too_large()
        return message

    async def send(self, message: Message) -> None:
        if self.overflowed and not self.status:
            return  # `refuse_body` answers, not the framework's error about half a body
        await self._pass_on(message)

    async def refuse_body(self, response: Response) -> None:
        """Answer and close the connection, whose body was not read.

        Closing at once would reset the connection under a client that still sends, and some would
        never see the answer: drain what comes for a while.
        """
        if self.status:
            return
        response.headers["Connection"] = "close"
        start = {"type": "http.response.start", "status": response.status_code}
        await self._pass_on({**start, "headers": response.raw_headers})
        body = {"type": "http.response.body", "body": response.body, "more_body": True}
        await self._pass_on(body)
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while (await self.incoming()).get("more_body"):
                    pass
        await self._pass_on({"type": "http.response.body"})

    async def _pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.request_id
            for name, value in _SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault(RESOURCE_POLICY, self.shown_by)
        elif self.without_body:
            if self._ended:
                return
            self._ended, message = True, {"type": "http.response.body"}
        await self.outgoing(message)

    def too_large(self) -> TooLarge:
        return TooLarge(f"The body may have at most {self.max_body // 1_000_000} MB")


def _as_get(scope: Scope) -> Scope:
    """Treat HEAD as GET: FastAPI has no answer for HEAD, which monitors often use."""
    if scope["method"] != "HEAD":
        return scope
    headers = [field for field in scope["headers"] if field[0] != b"range"]  # for GET only
    return {**scope, "method": "GET", "headers": headers}


def _with_own_host(scope: Scope) -> Scope:
    """Replace `Host`, which decides what links say, by the address of the connection."""
    name, port = scope.get("server") or ("localhost", None)
    host = f"[{name}]" if ":" in name else name
    headers = [field for field in scope["headers"] if field[0] != b"host"]
    own = f"{host}:{port}" if port else host
    return {**scope, "headers": [*headers, (b"host", own.encode())]}


def _is_signed_link(scope: Scope) -> bool:
    return _SIGNED_LINK.fullmatch(scope["path"]) is not None


def _loggable(path: str) -> str:
    return _SIGNED_LINK.sub(r"\1***", path)


def _ids(headers: Headers) -> dict[str, str]:
    own = headers.get("x-request-id", "")
    ids = {"request_id": own if _REQUEST_ID.fullmatch(own) else secrets.token_hex(16)}
    trace = headers.get("traceparent", "")
    if _TRACEPARENT.fullmatch(trace):
        ids["traceparent"] = trace
    return ids
