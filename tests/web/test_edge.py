"""The edge of a service, over real connections."""

import asyncio
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse

from tests.services import served, until
from tests.web.service import MAX_BODY, Left, make_app
from web import edge, sse

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def left() -> Left:
    return Left()


@pytest.fixture(scope="module")
def url(left: Left) -> Iterator[str]:
    with served(make_app(left)) as url:
        yield url


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield client


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Return the problem in the answer, complete and with the answer's own ids."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert set(found) == {"type", "title", "status", "detail", "code", "request_id", "errors"}
    assert (found["status"], found["code"]) == (status, code)
    assert found["type"] == f"urn:easel:error:{code}"
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


# -- ids and headers ---------------------------------------------------------------------


def test_the_request_id_of_the_caller_is_kept_and_passed_on(http: httpx.Client) -> None:
    given = {"X-Request-ID": "my.id-1_2", "traceparent": TRACE}
    answer = http.get("/ids", headers=given)
    assert answer.headers["x-request-id"] == "my.id-1_2"
    assert answer.json() == given


@pytest.mark.parametrize("given", [None, "", "a b", "x" * 65, "ä".encode("latin-1"), "a,b", "a/b"])
def test_a_request_id_that_is_none_is_replaced(http: httpx.Client, given: Any) -> None:
    headers = {} if given is None else {"X-Request-ID": given}
    answers = [http.get("/ids", headers=headers) for _ in range(2)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert all(re.fullmatch("[0-9a-f]{32}", found) for found in ids)
    assert ids[0] != ids[1]
    assert answers[0].json() == {"X-Request-ID": ids[0]}


def test_a_traceparent_that_is_none_is_not_passed_on(http: httpx.Client) -> None:
    assert "traceparent" not in http.get("/ids", headers={"traceparent": "00-evil"}).json()


def test_every_answer_has_an_id_and_cannot_be_sniffed_or_framed(http: httpx.Client) -> None:
    for path in ("/ids", "/nowhere", "/broken", "/busy", "/items/7"):
        headers = http.get(path).headers
        assert headers["x-request-id"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


# -- errors ------------------------------------------------------------------------------


def test_an_address_that_is_not_there_is_a_problem(http: httpx.Client) -> None:
    assert "/docs" in problem(http.get("/nowhere"), 404, "not_found")["detail"]


def test_a_wrong_method_is_a_problem_that_names_the_right_one(http: httpx.Client) -> None:
    answer = http.delete("/size")
    assert "POST" in problem(answer, 405, "invalid_request")["detail"]
    assert answer.headers["allow"] == "POST"


def test_a_wrong_method_is_told_all_that_an_address_takes() -> None:
    app = FastAPI()
    edge.install(app, max_body=100)
    some = APIRouter()
    some.get("/thing/{id}")(lambda: "got")
    some.delete("/thing/{id}")(lambda: "gone")
    app.include_router(some)
    with served(app) as url:
        answer = httpx.post(f"{url}/thing/1")
    assert answer.headers["allow"] == "DELETE, GET, HEAD"
    assert "DELETE, GET, HEAD" in problem(answer, 405, "invalid_request")["detail"]


def test_head_is_answered_as_get_is_but_without_the_body() -> None:
    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b"."
            await asyncio.sleep(0.01)

    app = FastAPI()
    edge.install(app, max_body=100)
    app.get("/thing")(lambda: "got")
    app.get("/events")(lambda: StreamingResponse(forever()))
    app.post("/only-post")(lambda: "done")
    with served(app) as url, httpx.Client(base_url=url) as http:
        head, got = http.head("/thing"), http.get("/thing")
        assert head.status_code == http.head("/events").status_code == 200
        assert http.head("/only-post").status_code == 405
        assert http.get("/thing").text == '"got"'
    assert head.content == b""
    assert head.headers["content-length"] == str(len(got.content))


def test_what_breaks_on_our_side_tells_nothing_but_the_id(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = http.get("/broken")
    found = problem(answer, 500, "internal")
    assert found["detail"] == found["title"] == "Something broke on our side"
    assert "owner" not in answer.text
    assert "RuntimeError" not in answer.text


def test_an_answer_that_breaks_in_the_middle_is_cut_off(http: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        http.get("/breaks-off")


def test_when_to_come_back_is_told_in_whole_seconds(http: httpx.Client) -> None:
    answer = http.get("/busy")
    assert problem(answer, 429, "queue_full")["detail"] == "The queue is full"
    assert answer.headers["retry-after"] == "5"


def test_every_wrong_field_is_named_with_what_is_allowed(http: httpx.Client) -> None:
    found = problem(http.post("/order", json={"number": "x"}), 422, "invalid_request")
    assert {fault["field"]: fault["allowed"] for fault in found["errors"]} == {
        "name": None,
        "number": "a valid integer",
    }
    found = problem(http.get("/items/7?page=0"), 422, "invalid_request")
    assert {fault["field"]: fault["allowed"] for fault in found["errors"]} == {
        "item": "a valid UUID",
        "page": "greater than or equal to 1",
    }


def test_an_address_that_is_a_key_to_a_picture_is_not_logged_whole(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        http.get("/v1/files/an-id/0/1800000000/the-mark")
        until(lambda: "/v1/files/an-id/0/1800000000/" in caplog.text, "the request to be logged")
    ours = [r.getMessage() for r in caplog.records if r.name == "web.middleware"]
    assert not [line for line in ours if "the-mark" in line]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'"text"', b"[" * 5000])
def test_a_body_that_is_no_json_names_the_body(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/order", content=body, headers={"content-type": "application/json"})
    found = problem(answer, 422, "invalid_request")
    assert [fault["field"] for fault in found["errors"]] == ["body"]


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=x", "multipart/form-data; ="]
)
def test_a_form_that_is_none_names_the_body(http: httpx.Client, kind: str) -> None:
    answer = http.post("/form", content=b"--y\r\nnonsense", headers={"content-type": kind})
    found = problem(answer, 422, "invalid_request")
    assert [fault["field"] for fault in found["errors"]] == ["body"]


def test_the_documentation_tells_errors_as_they_are(http: httpx.Client) -> None:
    schema = http.get("/openapi.json").json()
    assert "Problem" in schema["components"]["schemas"]
    text = json.dumps(schema)
    assert "HTTPValidationError" not in text
    for name in re.findall(r'"#/components/schemas/([^"]+)"', text):
        assert name in schema["components"]["schemas"]


# -- bodies ------------------------------------------------------------------------------


def test_a_body_at_the_limit_is_taken(http: httpx.Client) -> None:
    assert http.post("/size", content=b"x" * MAX_BODY).json() == MAX_BODY


def test_a_body_that_declares_too_much_is_refused_before_it_is_sent(url: str) -> None:
    head = f"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n"
    answer = exchange(url, head.encode())
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too_large"' in answer


def test_a_client_that_waits_to_be_asked_for_its_body_is_never_asked(url: str) -> None:
    head = f"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10**9}\r\n"
    answer = exchange(url, head.encode() + b"Expect: 100-continue\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer


@pytest.mark.parametrize("path", ["/size", "/order", "/form"])
def test_a_body_of_unknown_length_is_refused_at_the_limit(url: str, path: str) -> None:
    kind = "multipart/form-data; boundary=b" if path == "/form" else "application/json"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    part = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
    first = part if path == "/form" else b'"'
    answer = exchange(url, head.encode() + b"Transfer-Encoding: chunked\r\n\r\n", chunked(first))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"too_large"' in answer
    assert b"connection: close" in answer


def chunked(first: bytes) -> Iterator[bytes]:
    """Yield a body without end."""
    yield f"{len(first):x}\r\n".encode() + first + b"\r\n"
    while True:
        yield b"400\r\n" + b"x" * 1024 + b"\r\n"


def exchange(url: str, head: bytes, body: Iterable[bytes] = ()) -> bytes:
    """Return what the server says until it closes, while the client sends on regardless."""
    host, port = url.removeprefix("http://").split(":")
    said, parts = b"", iter(body)
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head)
        connection.settimeout(0.001)
        while True:
            try:
                data = connection.recv(65536)
                said += data
                if not data:
                    return said
            except TimeoutError:
                connection.settimeout(30)
                part = next(parts, b"")
                try:
                    connection.sendall(part)
                except OSError:
                    return said
                connection.settimeout(0.001 if part else 30)
            except ConnectionResetError:
                return said


def test_a_client_library_sees_the_refusal_of_a_large_upload(http: httpx.Client) -> None:
    answer = http.post("/size", content=b"x" * 5_000_000)
    problem(answer, 413, "too_large")
    assert http.get("/ids").status_code == 200


def test_the_length_that_is_declared_is_not_believed(url: str) -> None:
    """Two requests in one: what lies behind the declared length is a request of its own."""
    head = b"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = exchange(url, head + b"abc" + last)
    assert answer.count(b"HTTP/1.1 ") == 2
    assert b"\r\n\r\n3HTTP/1.1 404 " in answer


# -- who hangs up, and events --------------------------------------------------------------


def test_work_is_cancelled_when_its_client_hangs_up(
    http: httpx.Client, left: Left, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(httpx.ReadTimeout):
        http.post("/wait", timeout=httpx.Timeout(30, read=0.2))
    until(lambda: left.cancelled == left.waits == 1, "the work is cancelled")
    assert http.get("/ids").status_code == 200
    assert not caplog.records


def test_events_are_framed_as_the_standard_says(http: httpx.Client) -> None:
    answer = http.get("/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    frames = answer.text.split("\n\n")[:-1]
    assert len(frames) == 3
    fields = dict(line.split(": ", 1) for line in frames[1].splitlines())
    assert (fields["event"], fields["id"]) == ("order", "1")
    assert json.loads(fields["data"]) == {"name": "ä\nö", "number": 1}


@pytest.mark.parametrize(
    ("header", "number"),
    [(None, -1), ("", -1), ("7", 7), ("-1", -1), ("x", -1), ("²", -1), ("9" * 5000, -1)],
)
def test_a_last_event_id_that_is_none_starts_anew(header: str | None, number: int) -> None:
    assert sse.last_event_id(header) == number


def test_an_error_of_a_middleware_is_a_problem_too(http: httpx.Client) -> None:
    answer = http.get("/closed")
    assert problem(answer, 503, "no_gpu")["detail"] == "Closed"
    assert answer.headers["retry-after"] == "3"


def test_hanging_up_in_the_middle_of_a_body_is_no_error(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    where = httpx.URL(url)
    with socket.create_connection((where.host, where.port or 0)) as connection:
        connection.sendall(
            b"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf"
        )
    until(lambda: "path='/size'" in caplog.text, "the end of the request to be noticed")
    assert "unhandled" not in caplog.text
