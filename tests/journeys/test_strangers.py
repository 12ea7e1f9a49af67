"""What a web page and a stranger's connection can do to each of Easel's servers."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from tests.telegram_bot.stack import TOKEN, Stack

SERVERS = ("backend", "gpu_server", "engine", "local_telegram")
PAGE = "https://chat.example"
PUBLIC = "https://easel.example"
DRAWING = '{"mode": "free", "prompt": "a fox", "width": 256, "height": 256}'
READS = {
    "backend": "/generations",
    "gpu_server": "/health",
    "engine": "/queue",
    "local_telegram": "/chat/calls",
}
WRITES = {
    "backend": ("/generations", "/generate", "/v1/images/generations"),
    "gpu_server": ("/generate", "/free"),
    "engine": ("/prompt", "/interrupt", "/api/queue"),
    "local_telegram": ("/chat/send", f"/bot{TOKEN}/getMe"),
}
FOREIGN_HOSTS = (
    *("evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "localhost.evil"),
    *("127.evil.example", "0.0.0.0:{port}", "10.0.0.1", "evil.example@127.0.0.1", "[::2]:{port}"),
    *("127.0.0.1/evil", "127.0.0.1:{port}:80", "", "127.0.0.1, evil.example"),
)
FOREIGN_HEADERS = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:{port}"},
    {"Origin": "https://127.0.0.1"},
    {"Origin": "http://127.0.0.1:{port}.evil.example"},
    {"Origin": "chrome-extension://abcdef"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
)
OWN_HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Host": "localhost:{port}"},
    {"Host": "LOCALHOST"},
    {"Host": "[::1]:{port}"},
    {"Host": "127.0.0.1"},
    {"Host": "localhost", "Origin": "http://localhost"},
    {"Host": "localhost", "Origin": "https://localhost:443"},
    {"Host": "[::1]:{port}", "Origin": "http://[::1]:{port}"},
    {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("strangers")
    stack = Stack(folder, BACKEND_CORS_ORIGINS=PAGE, BACKEND_PUBLIC_URL=PUBLIC)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def connect(url: str) -> socket.socket:
    where = httpx.URL(url)
    return socket.create_connection((where.host, where.port or 80), timeout=60)


def head(url: str, method: str, path: str, headers: dict[str, str]) -> bytes:
    port = httpx.URL(url).port
    given = {"Host": f"127.0.0.1:{port}", "Connection": "close"} | headers
    lines = [f"{name}: {value.format(port=port)}" for name, value in given.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode()


def answer(
    url: str, method: str, path: str, headers: dict[str, str], body: str = ""
) -> tuple[int, str]:
    """Return the status and the rest of the answer."""
    sized = headers | ({"Content-Length": str(len(body))} if body else {})
    with connect(url) as connection:
        connection.sendall(head(url, method, path, sized) + body.encode())
        said = until_closed(connection).decode()
    return int(said.split()[1]), said


def until_closed(connection: socket.socket) -> bytes:
    """Read until the other side closes. Raises TimeoutError when it does not."""
    said = b""
    try:
        while part := connection.recv(65_536):
            said += part
    except ConnectionResetError:
        pass
    return said


@pytest.mark.parametrize("server", SERVERS)
def test_a_page_under_a_name_of_its_own_neither_reads_nor_writes(stack: Stack, server: str) -> None:
    url = stack.url[server]
    for host in FOREIGN_HOSTS:
        for path in (READS[server], "/"):
            assert answer(url, "GET", path, {"Host": host})[0] in (400, 403), host
        assert answer(url, "DELETE", "/users/x", {"Host": host})[0] in (400, 403), host
    twice = {"Host": "127.0.0.1", "host": "evil.example"}
    assert answer(url, "GET", READS[server], twice)[0] in (400, 403)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("headers", FOREIGN_HEADERS, ids=str)
def test_a_page_of_another_origin_neither_reads_nor_writes(
    stack: Stack, server: str, headers: dict[str, str]
) -> None:
    url = stack.url[server]
    assert answer(url, "GET", READS[server], headers)[0] == 403
    for path in WRITES[server]:
        for kind in ("text/plain", "application/json", "multipart/form-data; boundary=b"):
            typed = {**headers, "Content-Type": kind}
            assert answer(url, "POST", path, typed, DRAWING)[0] == 403


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("headers", OWN_HEADERS, ids=str)
def test_who_calls_from_this_host_or_from_its_own_page_is_answered(
    stack: Stack, server: str, headers: dict[str, str]
) -> None:
    assert answer(stack.url[server], "GET", READS[server], headers)[0] == 200


def test_a_form_that_navigates_is_refused_like_any_other_post(stack: Stack) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert answer(stack.url["backend"], "POST", "/generations", headers, DRAWING)[0] == 403


def test_a_refusal_has_the_shape_of_its_route_and_says_what_to_do(stack: Stack) -> None:
    url, headers = stack.url["backend"], {"Origin": "https://evil.example"}
    _, problem = answer(url, "GET", "/generations", headers)
    assert '"code":"unauthorized"' in problem
    assert "BACKEND_CORS_ORIGINS" in problem
    assert "application/problem+json" in problem
    _, error = answer(url, "GET", "/v1/models", headers)
    assert '"error":{"message"' in error
    assert "GPU_TOKEN" in answer(stack.url["gpu_server"], "GET", "/health", headers)[1]


def test_the_names_and_pages_that_the_operator_named_are_let_in(stack: Stack) -> None:
    url = stack.url["backend"]
    assert answer(url, "GET", "/modes", {"Host": "easel.example"})[0] == 200
    for origin in (PAGE, PUBLIC):
        assert answer(url, "GET", "/modes", {"Origin": origin})[0] == 200
    shown = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}
    assert answer(url, "GET", "/modes", shown)[0] == 200  # a page that was named shows a picture
    assert answer(stack.url["gpu_server"], "GET", "/modes", shown)[0] == 403


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
def test_a_page_opens_no_socket_to_the_engine(stack: Stack, headers: dict[str, str]) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    url = stack.url["engine"]
    with connect(url) as connection:
        connection.sendall(head(url, "GET", "/ws?clientId=1", upgrade | headers))
        assert b" 403 " in connection.recv(200)


def _endless(start: bytes, more: bytes) -> Iterator[bytes]:
    yield start
    while True:
        yield more * (65_536 // len(more) + 1)


CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "header lines": (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X-More: and more\r\n"),
    "empty header lines": (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"a:\r\n"),
    "one header": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"x"),
    "one name": (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"x"),
    "an address": (b"GET /", b"x"),
    "empty lines": (b"\r\n", b"\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"X-More: and more\r\n"),
    "one trailer": (CHUNKED + b"0\r\nX: ", b"x"),
    "a chunk's extension": (CHUNKED + b"1;", b"x"),
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("kind", ENDLESS)
def test_what_never_ends_is_cut_off_soon(stack: Stack, server: str, kind: str) -> None:
    taken = 0
    with connect(stack.url[server]) as connection:
        try:
            for part in _endless(*ENDLESS[kind]):
                connection.sendall(part)
                taken += len(part)
                assert taken < 20_000_000
        except OSError:
            pass
    assert httpx.get(stack.url[server] + READS[server], trust_env=False).status_code == 200


@pytest.mark.parametrize("server", SERVERS)
def test_heads_are_bounded_in_lines_and_bytes_and_the_refusal_says_so(
    stack: Stack, server: str
) -> None:
    url = stack.url[server]
    for extra in ({f"X-{n}": "1" for n in range(99)}, {"X-Long": "x" * 66_000}):
        status, said = answer(url, "GET", READS[server], extra)
        assert status == 431
        assert '"code":"too_large"' in said
        assert "100 lines and 64 KiB" in said
    fine = {f"X-{n}": "x" * 600 for n in range(95)}
    assert answer(url, "GET", READS[server], fine)[0] == 200


def test_who_never_finishes_a_request_is_let_go_and_who_waits_for_an_answer_is_not(
    stack: Stack,
) -> None:
    """One wait for every server and kind: it lasts as long as a client may be silent."""
    line = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    half_body = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\nhalf"
    kinds = (b"", b"G", line, half_body, CHUNKED + b"5\r\nhalf", line + b"\r\n" + line)
    poll = f"/bot{TOKEN}/getUpdates?timeout=20"
    with ExitStack() as stacked, ThreadPoolExecutor() as pool:
        waiting = pool.submit(answer, stack.url["local_telegram"], "GET", poll, {})
        held = []
        for server in SERVERS:
            for begun in kinds:
                connection = stacked.enter_context(connect(stack.url[server]))
                connection.sendall(begun)
                held.append(connection)
        for connection in held:
            until_closed(connection)
        assert waiting.result()[0] == 200
