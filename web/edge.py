"""The edge of a FastAPI service: request ids, body limit, headers, and errors as problems."""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from web import errors
from web.api.document import document
from web.errors import EaselError, FieldError, InvalidRequest
from web.middleware import ClientGone, Edge, Renderer
from web.same_origin import LOOPBACK_ONLY, SameOrigin
from workflows.parameters import InvalidValues

T = TypeVar("T")


def problem_response(error: EaselError, _: Request, request_id: str) -> Response:
    return Response(
        error.problem(request_id).model_dump_json(),
        error.status,
        headers=retry_header(error),
        media_type="application/problem+json",
    )


def retry_header(error: EaselError) -> dict[str, str]:
    if error.retry_after is None:
        return dict(error.headers)
    return {**error.headers, "Retry-After": str(max(1, math.ceil(error.retry_after)))}


def install(
    app: FastAPI,
    *,
    max_body: int,
    needs_key: bool = False,
    same_origin: SameOrigin = LOOPBACK_ONLY,
    render: Renderer = problem_response,
    on_error: Callable[[EaselError], None] = lambda _: None,
    verbatim: str = "",
) -> None:
    """Put Easel's edge around `app`.

    `max_body` is in bytes and enforced while reading. Unless the routes need a key, only requests
    that `same_origin` admits reach them. Each error that is answered goes to `on_error` too. Below
    the path `verbatim` every slash counts.
    """

    def rendered(error: EaselError, request: Request, request_id: str) -> Response:
        on_error(error)
        return render(error, request, request_id)

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            # Starlette names only the methods of the first route at this path.
            error = HTTPException(405, headers={"Allow": ", ".join(_methods(app, request))})
        response = rendered(as_easel_error(error), request, request_id())
        if isinstance(error, HTTPException):
            response.headers.update(error.headers or {})
        return response

    for kind in (EaselError, InvalidValues, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)
    app.add_middleware(
        Edge,
        max_body=max_body,
        needs_key=needs_key,
        same_origin=same_origin,
        render=rendered,
        verbatim=verbatim,
    )
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    _serve_either_with_or_without_slash(app)


def _serve_either_with_or_without_slash(app: FastAPI) -> None:
    """Answer `/modes/` as `/modes`: no redirect, which forms and preflights do not follow."""
    router, not_found = app.router, app.router.default
    router.redirect_slashes = False

    async def other_form(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        other = path.rstrip("/") if path.endswith("/") else path + "/"
        found = {**scope, "path": other}
        if scope["type"] == "http" and other and any(_matches(r, found) for r in router.routes):
            scope["path"] = other  # changed in place: the layers around see what was found
            await router.app(scope, receive, send)
        else:
            await not_found(scope, receive, send)

    router.default = other_form


def _matches(route: BaseRoute, scope: Scope) -> bool:
    return route.matches(scope)[0] is not Match.NONE


def _methods(app: FastAPI, request: Request) -> list[str]:
    """Return every method that the path of this request takes, as documented."""
    route = request.scope.get("route")
    described = app.openapi()["paths"].get(getattr(route, "path_format", ""), {})
    methods = {name.upper() for name in described} | (getattr(route, "methods", None) or set())
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def without_reasons(checks: Mapping[str, str]) -> dict[str, str]:
    """Return checks for anybody to read: reasons name addresses, which strangers need not know."""
    hidden = "not ok; ask with a key for the reason, or read the log"
    return {name: "ok" if state == "ok" else hidden for name, state in checks.items()}


def request_id() -> str:
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def trace_headers() -> dict[str, str]:
    """Return the headers that pass this request's ids on to the next service."""
    known = trace_ids()
    names = {"request_id": "X-Request-ID", "traceparent": "traceparent"}
    return {header: known[name] for name, header in names.items() if name in known}


def trace_ids() -> dict[str, str]:
    """Return this request's ids, to be bound again by work that outlives it."""
    known = structlog.contextvars.get_contextvars()
    return {name: known[name] for name in ("request_id", "traceparent") if known.get(name)}


def as_easel_error(error: Exception) -> EaselError:
    """Return the error that is shown for any exception."""
    match error:
        case EaselError():
            return error
        case InvalidValues():
            return InvalidRequest.of([FieldError(**vars(fault)) for fault in error.faults])
        case RequestValidationError():
            return invalid_request(error)
        case HTTPException(status_code=404):
            return errors.NotFound("There is no such address here; /docs lists them")
        case HTTPException(status_code=405):
            takes = (error.headers or {}).get("Allow", "")
            return MethodNotAllowed(f"This address takes {takes}" if takes else "")
        case HTTPException():
            return InvalidRequest.of([FieldError(field="body", message=str(error.detail))])
        case _:
            return errors.Internal()


def invalid_request(error: RequestValidationError | ValidationError) -> InvalidRequest:
    """Return pydantic's faults as one InvalidRequest."""
    return InvalidRequest.of([_field_error(dict(e)) for e in error.errors()])


class MethodNotAllowed(InvalidRequest, code="invalid_request", status=405):
    title = "This address does not take this method"


def _field_error(error: dict[str, Any]) -> FieldError:
    path = [str(part) for part in error["loc"] if part not in ("body", "query", "path", "header")]
    context = error.get("ctx", {})
    allowed = str(context["expected"]) if "expected" in context else None
    message = _in_plain_words(str(error["msg"]))
    if error["type"] == "json_invalid":
        path, message = [], "the body is not valid JSON"
    # "must be a valid UUID, invalid length": the first half is the rule.
    wanted = re.search(r"must (?:be |match )?([^,]+)", message)
    if allowed is None and wanted is not None:
        allowed = wanted[1]
    return FieldError(field=".".join(path)[:60] or "body", message=message, allowed=allowed)


def _in_plain_words(message: str) -> str:
    """Reword pydantic's message to follow the field's name, as ours do."""
    message = message.removeprefix("Value error, ")
    message = message.replace("Extra inputs are not permitted", "is not a known field")
    message = message.replace("Field required", "is required")
    return re.sub(r"^[A-Z][a-z]+ should ", "must ", message)


async def until_disconnected(request: Request) -> None:
    """Return when the client has hung up; the body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T:
    """Return the result of `work`; cancel it and raise ClientGone when the client hangs up."""
    task: asyncio.Future[T] = asyncio.ensure_future(work)
    gone = asyncio.create_task(until_disconnected(request))
    try:
        waiting: set[asyncio.Future[Any]] = {task, gone}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
