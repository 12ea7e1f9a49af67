"""Serve an application on uvicorn, with bounds on what a client can hold before it shows a key.

uvicorn's parsers leave open how long a request may take to come, and httptools how large its head
may be. h11 bounds the head but costs each request 0.2 ms more (0.62 against 0.43 ms), which a
generation pays several times. So the bounds are set here.
"""

import asyncio
import resource
from itertools import chain
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from web.errors import EaselError, InvalidRequest, RateLimited, TooLarge

MAX_HEAD: Final = 65_536
"""Bytes of a request's head, and of what comes between the pieces of a body."""
MAX_FIELDS: Final = 100
"""Header lines of a request, trailers included."""
SILENCE_S: Final = 15.0
"""How long a head may take to come, and how long a body may pause."""
_MAX_LOOKS: Final = 20
"""A body may take this many times the silence: 300 s."""
_MAX_CONNECTIONS: Final = 2000


class NotHttp(InvalidRequest, code="invalid_request", status=400):
    title = "This is not valid HTTP"


class HeadTooLarge(TooLarge, code="too_large", status=431):
    title = f"The headers may have at most {MAX_FIELDS} lines and {MAX_HEAD // 1024} KiB"


def _most_connections() -> int:
    """Leave a third of the file descriptors to databases, files and connections of our own."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MAX_CONNECTIONS, allowed * 2 // 3) if allowed > 0 else _MAX_CONNECTIONS


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds on a request's head and on how long a request takes to come.

    An answer may take any time: nothing is timed once the request has come whole.
    """

    silence_s = SILENCE_S
    most_connections = _most_connections()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._looks = 0
        self._unparsed = 0
        """Bytes received since the parser last finished a head or a piece of a body."""
        self._in_body = False
        self._has_progressed = False
        self._refusal: EaselError = NotHttp()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse(RateLimited("Too many connections are open here", retry_after=1))
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unparsed += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            self._unwatch()  # refused, or a WebSocket by now
        elif self._unparsed > MAX_HEAD or len(self.headers or ()) > MAX_FIELDS:
            self._refuse(HeadTooLarge())
        elif self._in_body or not self._is_answering():
            self._watch()
        else:
            self._unwatch()

    def on_headers_complete(self) -> None:
        self._unparsed = 0
        if len(self.headers) > MAX_FIELDS or _size(self.url, self.headers) > MAX_HEAD:
            self._refusal = HeadTooLarge()
            raise self._refusal  # ends in `send_400_response`
        super().on_headers_complete()
        self._unwatch()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        self._has_progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Answer with a problem instead of uvicorn's plain text."""
        self._refuse(self._refusal)

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.silence_s, self._look)

    def _unwatch(self) -> None:
        self._looks = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Close the connection unless a body makes progress, or the application did not ask."""
        self._timer = None
        if self._in_body and self._is_answering() and self._is_held():
            self._watch()
        elif self._in_body and self._has_progressed and self._looks < _MAX_LOOKS:
            self._looks += 1
            self._has_progressed = False
            self._watch()
        else:
            self.transport.close()

    def _is_held(self) -> bool:
        """Return whether the client waits for the application to read."""
        return self.flow.read_paused or self.cycle.waiting_for_100_continue

    def _refuse(self, error: EaselError) -> None:
        """Close the connection, with a problem as the answer unless another one is under way."""
        self._unwatch()
        if not self._is_answering():
            body = error.problem().model_dump_json().encode()
            wait = b"retry-after: %d\r\n" % error.retry_after if error.retry_after else b""
            head = (
                b"content-type: application/problem+json\r\n%s"
                b"content-length: %d\r\nconnection: close\r\n\r\n" % (wait, len(body))
            )
            self.transport.write(STATUS_LINE[error.status] + head + body)
        self.transport.close()


def _size(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    return len(url) + sum(map(len, chain.from_iterable(headers)))


def configuration(app: Any, **options: Any) -> uvicorn.Config:
    """Return uvicorn's configuration of a service; `options` are uvicorn's own.

    It logs no addresses: some contain a token.
    """
    ours: dict[str, Any] = {"http": BoundedProtocol, "access_log": False, "log_config": None}
    return uvicorn.Config(app, **ours | options)
