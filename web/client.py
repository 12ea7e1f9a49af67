"""The base of our clients: the one place where transport errors and problems become exceptions.

It uses aiohttp: a generation takes several requests in a row, and httpx needs several times the
CPU for each (docs/decisions/0008).
"""

import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import aiohttp

from web.errors import EaselError, EngineLost, error_from_answer

Photos = Mapping[str, bytes]
"""Photos by the names of the parameters whose values they are."""
CONNECT_S = 3.0
ANSWER_S = 10.0
"""Timeout for the next bytes of an answer."""
QUIET_S = 30.0
"""Timeout for the next bytes of an event stream, heartbeats included."""
_KEEP_ALIVE_S = 4.0
"""How long an idle connection is kept: less than uvicorn's 5 s, so that it never closes first."""
_TRANSPORT_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)


@dataclass(frozen=True)
class Answer:
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True)
class Message:
    """A server-sent event as read."""

    event: str
    data: str


@dataclass(eq=False)
class Peer:
    """One of our HTTP services, over one pool of connections.

    `token` is sent as a bearer token, the result of `headers` with every request. `lost` is the
    error for a service that cannot be reached or breaks off.
    """

    url: str
    token: str = field(default="", repr=False)
    _: KW_ONLY
    lost: type[EaselError] = EngineLost
    headers: Callable[[], dict[str, str]] = dict
    connections: int = 100
    _session: aiohttp.ClientSession | None = field(default=None, init=False)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self, method: str, path: str, *, timeout_s: float = ANSWER_S, **options: Any
    ) -> Answer:
        """Return the answer. Raises the EaselError that a problem stands for."""
        async with self._answer(method, path, timeout_s, options) as answer:
            try:
                return Answer(await answer.read())
            except _TRANSPORT_ERRORS as error:
                raise self.lost(f"No answer: {type(error).__name__}") from error

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, quiet_s: float = QUIET_S, **options: Any
    ) -> AsyncIterator[AsyncIterator[Message]]:
        """Open an event stream. Raises as `request` does, also when the stream breaks off."""
        options["headers"] = {"Accept": "text/event-stream", **options.get("headers", {})}
        async with self._answer(method, path, quiet_s, options) as answer:
            yield self._messages(answer)

    async def _messages(self, answer: aiohttp.ClientResponse) -> AsyncIterator[Message]:
        try:
            async for message in _events(answer.content.iter_any()):
                yield message
        except _TRANSPORT_ERRORS as error:
            raise self.lost(f"The event stream broke off: {type(error).__name__}") from error

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, quiet_s: float, options: dict[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield a successful answer, its body still unread."""
        headers = {**self.headers(), **options.pop("headers", {})}
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_S, sock_read=quiet_s)
        try:
            answer = await self._pool().request(
                method, self.url.rstrip("/") + path, headers=headers, timeout=timeout, **options
            )
            problem = await answer.read() if answer.status >= 400 else b""
        except _TRANSPORT_ERRORS as error:
            raise self.lost(f"No answer: {type(error).__name__}") from error
        try:
            if answer.status >= 400:
                retry_after = answer.headers.get("retry-after")
                raise error_from_answer(answer.status, problem, retry_after, self.lost)
            yield answer
        finally:
            answer.release()

    def _pool(self) -> aiohttp.ClientSession:
        """Return the session, made on first use: it belongs to the running event loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={"Authorization": f"Bearer {self.token}"} if self.token else None,
                connector=aiohttp.TCPConnector(
                    limit=self.connections, keepalive_timeout=_KEEP_ALIVE_S
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def body(request: Mapping[str, Any], photos: Photos) -> dict[str, Any]:
    """Return the options that send a request: as JSON, or with its photos as a form."""
    if not photos:
        return {"json": dict(request)}
    data = aiohttp.FormData({"request": json.dumps(dict(request))})
    for name, photo in photos.items():
        # As a file: aiohttp writes it in pieces, and warns of bytes of over 1 MB.
        file = io.BytesIO(photo)
        data.add_field(name, file, filename="photo", content_type="application/octet-stream")
    return {"data": data}


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Message]:
    """Yield the events of one of our services, which ends lines with a plain newline."""
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
        name, _, value = line.partition(":")
        if name == "event":
            event = value.removeprefix(" ")
        elif name == "data":
            data.append(value.removeprefix(" "))
    return Message(event, "\n".join(data))
