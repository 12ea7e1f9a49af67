"""What the routes share: the engine, bodies read and answers given as ComfyUI (aiohttp) does."""

import json
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from gpu_server.sketch.engine import Engine
from gpu_server.sketch.sockets import MAX_UPLOAD_BYTES


class TooLargeError(Exception):
    """The body exceeds MAX_UPLOAD_BYTES."""


class RefusedError(Exception):
    """A file route refuses the request with a status, the only argument, and no body."""


def engine_of(connection: HTTPConnection) -> Engine:
    engine: Engine = connection.app.state.engine
    return engine


def json_reply(data: Any, status: int = 200) -> Response:
    """Answer with JSON, with ComfyUI's charset and, like ComfyUI, with NaN passed on."""
    return Response(json.dumps(data), status, {"content-type": "application/json; charset=utf-8"})


def empty(status: int = 200) -> Response:
    """Answer without a body; file routes do so for 400, 403 and 404 too."""
    return Response(status_code=status)


def text(message: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(message, status, headers, media_type="text/plain")


def internal_error(_: Request, __: Exception) -> Response:
    """Answer as ComfyUI does when a body surprises one of its handlers."""
    message = "500 Internal Server Error\n\nServer got itself in trouble"
    return text(message, 500, {"connection": "close"})


def not_found(_: Request, __: Exception) -> Response:
    return text("404: Not Found", 404)


def method_not_allowed(_: Request, __: Exception) -> Response:
    return text("405: Method Not Allowed", 405)


def refused(_: Request, error: Exception) -> Response:
    return empty(*error.args)


def too_large(_: Request, __: Exception) -> Response:
    return text(f"Maximum request body size {MAX_UPLOAD_BYTES} exceeded.", 413)


async def body(request: Request) -> bytes:
    """Read the whole body. Raises TooLargeError once the client has sent all of it."""
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
    """Read the body. Raises ValueError when it is not JSON."""
    return json.loads(await body(request))
