"""How long a request may take to come, and that an answer may take any time."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse

from tests.services import served
from web.server import BoundedProtocol

HEAD = b"POST /%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


class Impatient(BoundedProtocol):
    silence_s = 0.25


class Small(BoundedProtocol):
    most_connections = 2


def make_app() -> FastAPI:
    app = FastAPI()

    @app.post("/size")
    async def size(request: Request) -> int:
        return len(await request.body())

    @app.post("/late")
    async def late(request: Request) -> int:
        await asyncio.sleep(5 * Impatient.silence_s)
        return len(await request.body())

    @app.get("/events")
    async def events() -> StreamingResponse:
        async def slowly() -> AsyncIterator[bytes]:
            for _ in range(3):
                await asyncio.sleep(3 * Impatient.silence_s)
                yield b"data: x\n\n"

        return StreamingResponse(slowly(), media_type="text/event-stream")

    return app


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served(make_app(), http=Impatient) as url:
        yield url


@contextlib.contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    where = httpx.URL(url)
    with socket.create_connection((where.host, where.port or 80), timeout=30) as connection:
        yield connection


def test_an_answer_may_take_longer_than_a_client_may_be_silent(url: str) -> None:
    assert httpx.get(f"{url}/events").text.count("data: x") == 3


def test_a_client_that_waits_until_the_application_reads_is_not_cut_off(url: str) -> None:
    assert httpx.post(f"{url}/late", content=b"x" * 1_000_000).json() == 1_000_000
    with connected(url) as connection:
        asks = b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(HEAD % b"late" + asks)
        assert b"100 Continue" in connection.recv(1000)
        connection.sendall(b"body")
        assert b" 200 " in connection.recv(1000)


def test_a_body_that_makes_progress_is_awaited(url: str) -> None:
    with connected(url) as connection:
        connection.sendall(HEAD % b"size" + b"Content-Length: 8\r\n\r\n")
        connection.settimeout(Impatient.silence_s / 2)
        for _ in range(8):
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                connection.recv(1)  # nothing yet
        connection.settimeout(30)
        assert connection.recv(1000).endswith(b"8")


@pytest.mark.parametrize("path", [b"size", b"nowhere"])
def test_a_body_that_drips_does_not_hold_a_connection_for_ever(url: str, path: bytes) -> None:
    with connected(url) as connection:
        connection.sendall(HEAD % path + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.settimeout(Impatient.silence_s / 4)
        with pytest.raises(ConnectionError):
            drip(connection)


def drip(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"1\r\nx\r\n")
        with contextlib.suppress(TimeoutError):
            connection.recv(1000)


def test_a_second_request_has_as_long_as_the_first(url: str) -> None:
    with connected(url) as connection:
        connection.sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\nGET /now")
        said = b""
        while part := connection.recv(1000):
            said += part
    assert said.count(b"HTTP/1.1 ") == 1


def test_who_comes_when_all_connections_are_taken_is_told_to_come_again() -> None:
    with served(make_app(), http=Small) as url, contextlib.ExitStack() as open_here:
        for _ in range(Small.most_connections):
            connection = open_here.enter_context(connected(url))
            connection.sendall(HEAD % b"size" + b"Content-Length: 1\r\n\r\n")
        refused = httpx.get(f"{url}/nowhere")
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["code"] == "rate_limited"
        open_here.close()
        assert until_taken(url).status_code == 404


def until_taken(url: str) -> httpx.Response:
    """Ask until the server has noticed that connections were closed."""
    while (answer := httpx.get(f"{url}/nowhere")).status_code == 429:
        pass
    return answer
