"""Requests that are wrong in every way: told so by field, never broken by, nothing left of them."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_server.pictures.uploads import MAX_BYTES
from tests.drawing_requests import (
    GOOD,
    NO_REQUESTS,
    PNG,
    REQUEST,
    WRONG_FIELDS,
    WRONG_FORMS,
    anything,
    check,
    faults,
    fields,
    problem,
    send,
)
from tests.gpu_server.pictures import samples
from tests.services import Pod, until


@pytest.fixture(scope="module", autouse=True)
def nothing_left(sketches: Pod) -> Iterator[None]:
    yield
    until(lambda: not sketches.left_behind(), "every file of a job is gone")


@pytest.mark.parametrize(("mode", "field", "value"), WRONG_FIELDS)
def test_a_wrong_field_is_named_with_what_is_allowed(
    http: httpx.Client, mode: str, field: str, value: Any
) -> None:
    found = faults(send(http, {**GOOD[mode], field: value}))
    shown = field[:60].encode(errors="replace").decode()
    assert list(found) == [shown]
    assert found[shown]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["seed", "width", "strength", "timeout_s", "count"])
def test_numbers_that_are_none_are_refused(http: httpx.Client, field: str, number: str) -> None:
    body = json.dumps({**GOOD["restyle"], field: "@"}).replace('"@"', number)
    answer = http.post("/generate", content=body, headers={"content-type": "application/json"})
    assert list(faults(answer)) == [field]


def test_every_fault_is_told_at_once(http: httpx.Client) -> None:
    wrong: dict[str, Any] = {"style": "noir", "format": "gif", "seed": -1, "width": 255}
    wrong |= {"count": 99, "colour": "red", "strength": 2, "timeout_s": -1, "image": "%%%"}
    assert set(faults(send(http, {"mode": "restyle", **wrong}))) == set(wrong)


def test_a_misspelt_name_is_told_the_nearest(http: httpx.Client) -> None:
    details = {
        name: problem(send(http, {**GOOD["free"], **wrong}))["detail"]
        for name, wrong in {
            "restyle": {"mode": "restlye"},
            "chatgpt": {"style": "chatgtp"},
            "negative_prompt": {"negativeprompt": "rain"},
        }.items()
    }
    for name, detail in details.items():
        assert f"did you mean '{name}'?" in detail


def test_the_size_comes_whole_and_within_what_the_model_can(http: httpx.Client) -> None:
    assert "1024x1024" in faults(send(http, {"prompt": "a", "width": 256}))["height"]
    assert "1024x1024" in faults(send(http, {"prompt": "a", "height": 256}))["width"]
    large = {"prompt": "a", "width": 2048, "height": 2048}
    assert "1344x768" in faults(send(http, large))["width"]


def test_thousands_of_unknown_fields_are_answered_shortly(http: httpx.Client) -> None:
    answer = send(http, {**GOOD["free"], **{f"field{n}": n for n in range(20_000)}})
    assert 0 < len(faults(answer)) < 100
    assert len(answer.content) < 20_000


# -- bodies ------------------------------------------------------------------------------


@pytest.mark.parametrize("body", NO_REQUESTS, ids=range(len(NO_REQUESTS)))
@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=UTF-8", ""])
def test_a_body_that_is_no_request_is_refused(http: httpx.Client, body: bytes, kind: str) -> None:
    for method, path in (("POST", "/generate"), ("PUT", f"/jobs/{uuid4()}")):
        headers = {"content-type": kind} if kind else {}
        answer = http.request(method, path, content=body, headers=headers)
        assert faults(answer) == {"body": "a JSON object"}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"nonsense"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="re'),
        ("multipart/form-data; boundary=" + "b" * 300, b"--b"),
    ],
)
def test_a_form_that_is_none_is_refused(http: httpx.Client, kind: str, body: bytes) -> None:
    answer = http.post("/generate", content=body, headers={"content-type": kind})
    assert set(faults(answer)) <= {"body", "request", "Content-Type"}


@pytest.mark.parametrize(("parts", "fields"), WRONG_FORMS, ids=range(len(WRONG_FORMS)))
def test_a_form_with_wrong_parts_is_told_which(
    http: httpx.Client, parts: list[Any], fields: set[str]
) -> None:
    assert set(faults(http.post("/generate", files=parts))) == fields


def test_a_body_over_the_limit_is_refused_before_anything_is_drawn(http: httpx.Client) -> None:
    body = json.dumps({**GOOD["restyle"], "image": "A" * 31_000_000}).encode()
    found = problem(http.post("/generate", content=body))
    assert (found["status"], found["code"]) == (413, "too_large")
    assert http.get("/readyz").status_code == 200


def test_a_body_of_unknown_length_over_the_limit_is_refused(http: httpx.Client) -> None:
    def parts() -> Iterator[bytes]:
        yield b'{"prompt": "'
        for _ in range(40):
            yield b"x" * 1_000_000

    found = problem(http.post("/generate", content=parts()))
    assert (found["status"], found["code"]) == (413, "too_large")


# -- photos ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", samples.BAD)
def test_a_photo_that_cannot_be_used_is_refused_in_words(http: httpx.Client, kind: str) -> None:
    data, message = samples.BAD[kind]
    packed = base64.b64encode(data).decode()
    answers = [
        send(http, {**GOOD["restyle"], "image": packed}),
        http.post("/generate", files={"request": (None, REQUEST), "image": ("a.png", data)}),
    ]
    for answer in answers:
        assert list(faults(answer, "invalid_image")) == ["image"]
        assert problem(answer)["detail"].startswith(f"image: {message} (allowed: a PNG, JPEG")


@pytest.mark.parametrize(
    "text", ["%%%", "AAAAA", "AA=A", "картинка", "\ud800", "https://example.org/cat.png", " ", ""]
)
def test_base64_that_is_none_is_refused_in_words(http: httpx.Client, text: str) -> None:
    answer = send(http, {**GOOD["restyle"], "image": text})
    assert list(faults(answer, "invalid_image")) == ["image"]


@pytest.mark.parametrize("value", [7, True, False, [], {}, {"url": "x"}, 1.5])
def test_a_photo_that_is_no_text_is_refused(http: httpx.Client, value: Any) -> None:
    answer = send(http, {**GOOD["restyle"], "image": value})
    assert list(faults(answer, "invalid_image")) == ["image"]


def test_a_photo_over_the_limit_is_refused(http: httpx.Client) -> None:
    data = PNG + bytes(MAX_BYTES)
    answers = [
        send(http, {**GOOD["restyle"], "image": base64.b64encode(data).decode()}),
        http.post("/generate", files={"request": (None, REQUEST), "image": ("a.png", data)}),
    ]
    for answer in answers:
        assert answer.status_code == 413
        assert list(faults(answer, "too_large")) == ["image"]


@pytest.mark.parametrize("kind", samples.GOOD)
def test_every_kind_of_photo_is_redrawn(http: httpx.Client, kind: str) -> None:
    body = {**GOOD["restyle"], "style": "chatgpt", "format": "jpeg"}
    body["image"] = base64.b64encode(samples.GOOD[kind]).decode()
    assert send(http, body).status_code == 200


def test_names_of_files_are_never_the_callers(http: httpx.Client, sketches: Pod) -> None:
    for name in ("../../../evil.png", "/etc/passwd", "a\0b.png", "photo.png [output]"):
        files: Any = {"request": (None, REQUEST), "image": (name, PNG)}
        assert http.post("/generate", files=files).status_code in (200, 422)
    assert not list(sketches.engine.parent.rglob("evil*"))
    for name in ("../../x.png", "easel/other/photo.png", "/etc/passwd"):
        assert send(http, {**GOOD["restyle"], "image": name}).status_code == 422


# -- at random -----------------------------------------------------------------------------


@settings(max_examples=150)
@given(mode=st.sampled_from(list(GOOD)), wrong=st.dictionaries(fields, anything, max_size=4))
def test_no_field_breaks_the_server(http: httpx.Client, mode: str, wrong: dict[str, Any]) -> None:
    body = {**GOOD[mode], "style": "chatgpt", "format": "jpeg", **wrong}
    check(send(http, body), body)


@settings(max_examples=60)
@given(body=anything | st.dictionaries(fields, anything))
def test_no_json_breaks_the_server(http: httpx.Client, body: Any) -> None:
    check(send(http, body), body)
    answer = http.post("/generate", files={"request": (None, json.dumps(body))})
    check(answer, body)


@settings(max_examples=60)
@given(body=st.binary(max_size=200), kind=st.sampled_from(["application/json", "multipart"]))
def test_no_bytes_break_the_server(http: httpx.Client, body: bytes, kind: str) -> None:
    if kind == "multipart":
        kind = "multipart/form-data; boundary=b"
        body = b'--b\r\nContent-Disposition: form-data; name="request"' + body + b"\r\n--b--\r\n"
    answer = http.post("/generate", content=body, headers={"content-type": kind})
    check(answer, body)


@given(
    accept=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=40),
    query=st.text(max_size=20),
)
def test_no_header_or_query_breaks_the_server(http: httpx.Client, accept: str, query: str) -> None:
    accept = accept.strip()
    headers = {"Accept": accept, "X-Request-ID": accept, "Last-Event-ID": accept}
    headers |= {"traceparent": accept, "Authorization": accept}
    for method, path in (("POST", "/generate"), ("GET", f"/jobs/{uuid4()}/events")):
        answer = http.request(method, path, headers=headers, params={"previews": query})
        assert problem(answer)["code"] in ("invalid_request", "not_found")
