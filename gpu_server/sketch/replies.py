"""Responses in the forms that ComfyUI (aiohttp) gives them, and bodies read as it reads them."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gpu_server.sketch.sockets import MAX_UPLOAD_BYTES


class TooLargeError(Exception):
    """The body exceeds MAX_UPLOAD_BYTES."""


class RefusedError(Exception):
    """A file route refuses: `status` without a body."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refused with {status}")
        self.status = status


def json_reply(data: Any, status: int = 200) -> Response:
    """JSON with the charset that ComfyUI names; NaN is passed on as it does."""
    return Response(json.dumps(data), status, {"content-type": "application/json; charset=utf-8"})


def empty(status: int = 200) -> Response:
    """No body; 400, 403 and 404 of file routes have none either."""
    return Response(status_code=status)


def text(message: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """A plain text error."""
    return Response(message, status, headers, media_type="text/plain")


def internal_error(_: Request, __: Exception) -> Response:
    """What ComfyUI says whenever a handler meets a body it did not expect."""
    message = "500 Internal Server Error\n\nServer got itself in trouble"
    return text(message, 500, {"connection": "close"})


def not_found(_: Request, __: Exception) -> Response:
    """An unknown route."""
    return text("404: Not Found", 404)


def method_not_allowed(_: Request, __: Exception) -> Response:
    """A known route with another method."""
    return text("405: Method Not Allowed", 405)


def refused(_: Request, error: Exception) -> Response:
    """The answer to a RefusedError."""
    return empty(error.status if isinstance(error, RefusedError) else 500)


def too_large(_: Request, __: Exception) -> Response:
    """A body over the limit."""
    return text(f"Maximum request body size {MAX_UPLOAD_BYTES} exceeded.", 413)


async def body(request: Request) -> bytes:
    """The whole body. Raises TooLargeError, but only once the client has sent it all."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= MAX_UPLOAD_BYTES:
            parts.append(part)
    if size > MAX_UPLOAD_BYTES:
        raise TooLargeError
    return b"".join(parts)


async def json_body(request: Request) -> Any:
    """The body as JSON. Raises ValueError when it is none."""
    return json.loads(await body(request))
