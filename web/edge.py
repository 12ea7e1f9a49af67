"""The edge of a FastAPI service: request ids, body limit, headers, and errors as problems."""

import asyncio
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic import ValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.errors import (
    EaselError,
    FieldError,
    Internal,
    InvalidRequest,
    NotFound,
    Problem,
    TooLarge,
)
from workflows.parameters import InvalidValues

log = structlog.get_logger()

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_QUIET = ("/livez", "/readyz", "/health", "/metrics")
_SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-site",
}

T = TypeVar("T")
Renderer = Callable[[EaselError, Request, str], Response]


def problem_response(error: EaselError, _: Request, request_id: str) -> Response:
    """An error as `application/problem+json`."""
    return Response(
        error.problem(request_id).model_dump_json(),
        error.status,
        headers=retry_header(error),
        media_type="application/problem+json",
    )


def retry_header(error: EaselError) -> dict[str, str]:
    if error.retry_after is None:
        return {}
    return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}


def install(app: FastAPI, *, max_body: int, render: Renderer = problem_response) -> None:
    """Give `app` Easel's edge. `max_body` is in bytes and enforced while reading."""

    async def answer(request: Request, error: Exception) -> Response:
        return render(as_easel_error(error), request, request_id())

    for kind in (EaselError, InvalidValues, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)
    app.add_middleware(_Edge, max_body=max_body, render=render)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]


def request_id() -> str:
    """The id of the request being handled."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def trace_headers() -> dict[str, str]:
    """Headers that carry this request's ids on to the next service."""
    known = structlog.contextvars.get_contextvars()
    names = {"request_id": "X-Request-ID", "traceparent": "traceparent"}
    return {header: str(known[name]) for name, header in names.items() if known.get(name)}


def as_easel_error(error: Exception) -> EaselError:
    """Any exception as the error that is shown for it."""
    match error:
        case EaselError():
            return error
        case InvalidValues():
            return InvalidRequest.of(
                [
                    FieldError(field=f.field, message=f.message, allowed=f.allowed)
                    for f in error.faults
                ]
            )
        case RequestValidationError():
            return invalid_request(error)
        case HTTPException(status_code=404):
            return NotFound("There is no such address here; /docs lists them")
        case HTTPException(status_code=405):
            return _method_not_allowed(error)
        case HTTPException():
            return InvalidRequest(str(error.detail))
        case _:
            return Internal()


def invalid_request(error: RequestValidationError | ValidationError) -> InvalidRequest:
    """Pydantic's faults as ours."""
    return InvalidRequest.of([_field_error(dict(e)) for e in error.errors()])


class MethodNotAllowed(InvalidRequest):
    code = "invalid_request"
    status = 405
    title = "This address does not take this method"


def _method_not_allowed(error: HTTPException) -> EaselError:
    takes = (error.headers or {}).get("Allow", "")
    return MethodNotAllowed(f"This address takes {takes}" if takes else "")


def _field_error(error: dict[str, Any]) -> FieldError:
    path = [str(part) for part in error["loc"] if part not in ("body", "query", "path", "header")]
    context = error.get("ctx", {})
    allowed = str(context["expected"]) if "expected" in context else None
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "json_invalid":
        path, message = [], "the body is not valid JSON"
    return FieldError(field=".".join(path)[:60] or "body", message=message, allowed=allowed)


class _Edge:
    """ASGI middleware, outermost: ids in, headers out, one log line, nothing escapes as text."""

    def __init__(self, app: ASGIApp, max_body: int, render: Renderer) -> None:
        self.app = app
        self.max_body = max_body
        self.render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        ids = _ids(headers)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**ids)
        exchange = _Exchange(receive, send, ids["request_id"], self.max_body)
        began = time.perf_counter()
        try:
            exchange.check_declared(headers.get("content-length", ""))
            await self.app(scope, exchange.receive, exchange.send)
        except TooLarge as error:
            await self._answer(error, scope, exchange)
        except Exception as error:  # the outermost edge: logged here with its id, never shown
            log.exception("unhandled", path=scope["path"], error=type(error).__name__)
            if exchange.status:
                raise
            await self._answer(Internal(), scope, exchange)
        finally:
            if scope["path"] not in _QUIET:
                log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=exchange.status or 499,
                    ms=round((time.perf_counter() - began) * 1000, 1),
                )

    async def _answer(self, error: EaselError, scope: Scope, exchange: "_Exchange") -> None:
        response = self.render(error, Request(scope), exchange.request_id)
        exchange.overflowed = False
        await response(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request and its answer: counts the body while it is read, adds headers to the answer."""

    def __init__(self, receive: Receive, send: Send, request_id: str, max_body: int) -> None:
        self._receive = receive
        self._send = send
        self.request_id = request_id
        self.max_body = max_body
        self.read = 0
        self.overflowed = False
        self.status = 0

    def check_declared(self, length: str) -> None:
        if length.isdigit() and int(length) > self.max_body:
            raise self._too_large()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.read += len(message.get("body", b""))
            if self.read > self.max_body:
                self.overflowed = True
                raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        if self.overflowed:
            # A framework may have turned the TooLarge of a half-read body into its own answer.
            raise self._too_large()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.request_id
            for name, value in _SECURITY_HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body may have at most {self.max_body // 1_000_000} MB")


def _ids(headers: Headers) -> dict[str, str]:
    given = headers.get("x-request-id", "")
    ids = {"request_id": given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)}
    trace = headers.get("traceparent", "")
    if _TRACEPARENT.fullmatch(trace):
        ids["traceparent"] = trace
    return ids


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        components.update(problem.pop("$defs", {}))
        components["Problem"] = problem
        components.pop("HTTPValidationError", None)
        components.pop("ValidationError", None)
        app.openapi_schema = schema
    return app.openapi_schema


async def until_disconnected(request: Request) -> None:
    """Returns when the client has hung up; the body must have been read."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client hangs up.

    Raises asyncio.CancelledError in that case.
    """
    task: asyncio.Future[T] = asyncio.ensure_future(work)
    gone = asyncio.create_task(until_disconnected(request))
    try:
        waiting: set[asyncio.Future[Any]] = {task, gone}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise asyncio.CancelledError
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
