"""A real HTTP server for model files that misbehaves on demand, one turn per request."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Turn = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request; the turns below answer through it."""

    protocol_version = "HTTP/1.1"
    origin: "Origin"

    def do_GET(self) -> None:
        self.origin.requests.append({name.lower(): value for name, value in self.headers.items()})
        self.origin.paths.append(self.path)
        turn = self.origin.turns.pop(0) if self.origin.turns else serve
        turn(self)

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client hung up
            super().handle()

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        if status != 304 and "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    @property
    def begin(self) -> int:
        """Where the requested range begins; 0 without a range or if If-Range does not match."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if match is None or (condition is not None and condition != self.origin.etag):
            return 0
        return int(match[1])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@dataclass
class Origin:
    """What the server has and does; it takes `turns` in order, then behaves."""

    content: bytes
    etag: str = '"one"'
    turns: list[Turn] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""


def serve(request: Request) -> None:
    """Answer properly, including ranges and If-Range."""
    origin, begin = request.origin, request.begin
    body, total = origin.content[begin:], len(origin.content)
    if begin:
        where = f"bytes {begin}-{total - 1}/{total}"
        request.answer(206, body, ETag=origin.etag, Content_Range=where)
    else:
        request.answer(200, body, ETag=origin.etag)


def cut_after(count: int) -> Turn:
    """Announce everything, send `count` bytes, hang up."""

    def turn(request: Request) -> None:
        origin, begin = request.origin, request.begin
        total = len(origin.content)
        headers = {"ETag": origin.etag, "Content_Length": str(total - begin)}
        if begin:
            headers["Content_Range"] = f"bytes {begin}-{total - 1}/{total}"
        body = origin.content[begin : begin + count]
        request.answer(206 if begin else 200, body, **headers)
        request.close_connection = True

    return turn


def corrupt(request: Request) -> None:
    body = bytearray(request.origin.content)
    body[-1] ^= 0xFF
    request.answer(200, bytes(body), ETag=request.origin.etag)


def ignore_range(request: Request) -> None:
    request.answer(200, request.origin.content, ETag=request.origin.etag)


def lie_about_the_range(request: Request) -> None:
    """Answer 206 from byte 0, whatever the requested range."""
    content = request.origin.content
    where = f"bytes 0-{len(content) - 1}/{len(content)}"
    request.answer(206, content, ETag=request.origin.etag, Content_Range=where)


def shift_the_range(request: Request) -> None:
    """Answer with the headers of the requested range and the bytes of another."""
    content, begin = request.origin.content, request.begin
    where = f"bytes {begin}-{len(content) - 1}/{len(content)}"
    body = content[: len(content) - begin]
    request.answer(206, body, ETag=request.origin.etag, Content_Range=where)


def send_without_length(body: Callable[[bytes], bytes]) -> Turn:
    """Send `body(content)` chunked, without announcing its length."""

    def turn(request: Request) -> None:
        data = body(request.origin.content)
        chunk = f"{len(data):x}\r\n".encode() + data + b"\r\n0\r\n\r\n"
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(chunk)

    return turn


def fail_with(status: int, **headers: str) -> Turn:
    return lambda request: request.answer(status, b"sorry", **headers)


def show_a_page(request: Request) -> None:
    request.answer(200, b"<title>Log in</title>", Content_Type="text/html; charset=utf-8")


def redirect_to(url: str) -> Turn:
    return lambda request: request.answer(302, Location=url)


@contextmanager
def running(content: bytes) -> Iterator[Origin]:
    """Run the server on a free loopback port for the duration of the block."""
    origin = Origin(content)
    handler = type("Bound", (Request,), {"origin": origin})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        origin.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield origin
        finally:
            server.shutdown()
            thread.join()
