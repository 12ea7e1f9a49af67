"""Requests that are wrong in every way, at the backend: nothing of them is sent on or kept."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.drawing_requests import (
    GOOD,
    NO_REQUESTS,
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
from tests.services import Platform

OWN_WRONG_FIELDS: list[tuple[str, str, Any]] = [
    ("free", "user", 7),
    ("free", "user", "x" * 129),
    ("free", "user", "a\0b"),
    ("free", "user", "\ud800"),
    ("free", "user", ["me"]),
    ("free", "priority", 11),
    ("free", "priority", -11),
    ("free", "priority", "high"),
    ("free", "priority", 0.5),
]

UNUSED_ID = "7b0c6a52-3f0e-4a55-9a0b-2d1c0f4e8a11"


@pytest.fixture(scope="module")
def http(easel: Platform) -> Iterator[httpx.Client]:
    with easel.http() as client:
        yield client


@pytest.mark.parametrize(
    ("mode", "field", "value"),
    [case for case in WRONG_FIELDS if case[1] != "user"] + OWN_WRONG_FIELDS,
)
def test_a_wrong_field_is_named_with_what_is_allowed(
    http: httpx.Client, mode: str, field: str, value: Any
) -> None:
    found = faults(send(http, {**GOOD[mode], field: value}))
    shown = field[:60].encode(errors="replace").decode()
    assert list(found) == [shown]
    assert found[shown]


def test_every_fault_is_told_at_once(http: httpx.Client) -> None:
    wrong: dict[str, Any] = {"style": "noir", "format": "gif", "seed": -1, "width": 255}
    wrong |= {"count": 99, "colour": "red", "strength": 2, "image": "%%%", "priority": 99}
    assert set(faults(send(http, {"mode": "restyle", **wrong}))) == set(wrong)


@pytest.mark.parametrize("body", NO_REQUESTS, ids=range(len(NO_REQUESTS)))
def test_a_body_that_is_no_request_is_refused(http: httpx.Client, body: bytes) -> None:
    addresses = [
        ("POST", "/generate"),
        ("POST", "/generations"),
        ("PUT", f"/generations/{uuid4()}"),
    ]
    for method, path in addresses:
        answer = http.request(method, path, content=body)
        assert faults(answer) == {"body": "a JSON object"}


@pytest.mark.parametrize("path", ["/generate", "/v1/images/generations"])
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"junk":[' + b"[]," * 9_000_000 + b"[]]}", {}, 413),
        (b'{"junk":[' + b"[]," * 30_000 + b"[]]}", {}, 422),
        (b'{"prompt":"a","prompt":"b"}', {}, 422),
        (b'{"seed":' + b"9" * 5000 + b"}", {}, 422),
        (b'{"a":' * 40 + b"1" + b"}" * 40, {}, 422),
        (b"\x1f\x8b", {"Content-Encoding": "gzip"}, 415),
        (b'{"prompt":"a"}', {"Content-Type": "text/plain"}, 415),
    ],
    ids=["large", "wide", "twice", "digits", "deep", "gzip", "text"],
)
def test_a_body_that_would_cost_much_is_refused_in_words(
    http: httpx.Client, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = http.post(path, content=body, headers=headers)
    status = 400 if status == 422 and path.startswith("/v1") else status
    assert answer.status_code == status, answer.text[:300]
    assert len(answer.content) < 5000
    assert ("accept-encoding" in answer.headers) == (status == 415)


@pytest.mark.parametrize("user", ["", ".", "..", "a/b", "%", "a%2Fb", "имя"])
def test_every_user_can_be_deleted(http: httpx.Client, user: str) -> None:
    http.post("/generations", json={**GOOD["free"], "user": user})
    assert http.delete("/users", params={"user": user}).json()["generations"] >= 1


def test_conditions_are_answered_as_http_has_them(http: httpx.Client) -> None:
    made = http.post("/generate", json={**GOOD["free"], "user": None, "format": None}).json()
    path = f"/generations/{made['id']}/images/0"
    tag = http.get(path).headers["etag"]
    for headers, status in [
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": f'"x", W/{tag}'}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Range": '"x"', "Range": "bytes=0-1"}, 200),
        ({"If-Range": tag, "Range": "bytes=0-1"}, 206),
        ({"Range": "bytes=-0"}, 416),
        ({"Range": "bytes=9-1"}, 200),
    ]:
        assert http.get(path, headers=headers).status_code == status, headers
    assert http.head(path, headers={"Range": "bytes=0-1"}).status_code == 200


@pytest.mark.parametrize(("parts", "wrong"), WRONG_FORMS, ids=range(len(WRONG_FORMS)))
def test_a_form_with_wrong_parts_is_told_which(
    http: httpx.Client, parts: list[Any], wrong: set[str]
) -> None:
    assert set(faults(http.post("/generate", files=parts))) == wrong


@pytest.mark.parametrize("kind", samples.BAD)
def test_a_photo_that_cannot_be_used_is_refused_before_it_is_accepted(
    http: httpx.Client, kind: str
) -> None:
    data, message = samples.BAD[kind]
    number = f"/generations/{uuid4()}"
    body = {**GOOD["restyle"], "image": base64.b64encode(data).decode()}
    for answer in (
        http.put(number, json=body),
        http.post("/generate", files={"request": (None, REQUEST), "image": ("a.png", data)}),
    ):
        assert list(faults(answer, "invalid_image")) == ["image"]
        assert problem(answer)["detail"].startswith(f"image: {message} (allowed: a PNG, JPEG")
    assert http.get(number).status_code == 404


@pytest.mark.parametrize("kind", samples.GOOD)
def test_every_kind_of_photo_is_redrawn(http: httpx.Client, kind: str) -> None:
    body = {**GOOD["restyle"], "style": "chatgpt", "format": "jpeg"}
    body["image"] = base64.b64encode(samples.GOOD[kind]).decode()
    answer = send(http, body)
    assert answer.status_code == 200, answer.text


def test_a_body_over_the_limit_is_refused(http: httpx.Client) -> None:
    body = json.dumps({**GOOD["restyle"], "image": "A" * 31_000_000}).encode()
    found = problem(http.post("/generate", content=body))
    assert (found["status"], found["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/generations/7", "generation_id"),
        ("PUT", "/generations/7", "generation_id"),
        ("DELETE", "/generations/7", "generation_id"),
        ("GET", "/generations/7/events", "generation_id"),
        ("GET", "/generations/7/images/0", "generation_id"),
        ("GET", f"/generations/{UNUSED_ID}/images/x", "number"),
        ("GET", f"/generations/{UNUSED_ID}/images/0?format=gif", "format"),
        ("GET", "/generations?limit=0", "limit"),
        ("GET", "/generations?limit=101", "limit"),
        ("GET", "/generations?limit=x", "limit"),
        ("GET", "/generations?cursor=" + "x" * 201, "cursor"),
        ("GET", "/generations?cursor=garbage", "cursor"),
        ("GET", "/generations?cursor=%00", "cursor"),
        ("GET", "/generations?user=" + "x" * 129, "user"),
        ("GET", "/generations?user=%00", "user"),
        ("DELETE", "/users/" + "x" * 129, "user"),
        ("DELETE", "/users/a%00b", "user"),
        ("POST", "/generate?previews=perhaps", "previews"),
    ],
)
def test_a_wrong_address_is_told_its_field(
    http: httpx.Client, method: str, path: str, field: str
) -> None:
    content = json.dumps(GOOD["free"]) if method in ("PUT", "POST") else None
    answer = http.request(method, path, content=content)
    assert list(faults(answer)) == [field]


def test_an_idempotency_key_has_its_length(http: httpx.Client) -> None:
    for key in ("", "x" * 256):
        answer = http.post("/generations", json=GOOD["free"], headers={"Idempotency-Key": key})
        assert [name.lower() for name in faults(answer)] == ["idempotency-key"]


@pytest.mark.parametrize(
    "wanted", ["x", "bytes=", "bytes=-", "bytes=9-1", "bytes=99999999-", "bytes=0-" + "9" * 5000]
)
def test_a_range_that_is_none_breaks_nothing(http: httpx.Client, wanted: str) -> None:
    made = http.post("/generate", json=GOOD["free"]).json()
    answer = http.get(f"/generations/{made['id']}/images/0", headers={"Range": wanted})
    assert answer.status_code in (200, 206, 416)


@pytest.mark.parametrize("number", ["-1", "3", "100", "9" * 4000, "9" * 5000])
def test_a_picture_that_is_not_there_is_not_found(http: httpx.Client, number: str) -> None:
    made = http.post("/generate", json=GOOD["free"]).json()
    answer = http.get(f"/generations/{made['id']}/images/{number}")
    assert problem(answer)["code"] in ("not_found", "invalid_request")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "\ud800"),
        ("model", "easel-noir"),
        ("model", 7),
        ("user", "a\0b"),
        ("user", "\ud800"),
        ("n", 0),
        ("size", "1x1"),
        ("size", "9999x9999"),
        ("prompt", "\0"),
        ("seed", 10**400),
        ("stream", []),
        ("colour", "red"),
    ],
)
def test_openais_own_errors_are_answered_to_wrong_requests_in_its_api(
    http: httpx.Client, field: str, value: Any
) -> None:
    body = {"model": "easel-free", "prompt": "a", "size": "256x256", field: value}
    content = json.dumps(body).encode()
    answer = http.post("/v1/images/generations", content=content)
    assert answer.status_code in (400, 404), answer.text[:300]
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


# -- at random -----------------------------------------------------------------------------

own_fields = fields | st.sampled_from(["user", "priority"])


@settings(max_examples=80)
@given(mode=st.sampled_from(list(GOOD)), wrong=st.dictionaries(own_fields, anything, max_size=4))
def test_no_field_breaks_the_backend(http: httpx.Client, mode: str, wrong: dict[str, Any]) -> None:
    body = {**GOOD[mode], "style": "chatgpt", "format": "jpeg", **wrong}
    check(send(http, body), body)


@settings(max_examples=40)
@given(body=anything | st.dictionaries(own_fields, anything))
def test_no_json_breaks_the_backend(http: httpx.Client, body: Any) -> None:
    check(send(http, body), body)
    check(http.post("/generate", files={"request": (None, json.dumps(body))}), body)


@settings(max_examples=40)
@given(text=st.text(max_size=40), query=st.text(max_size=40))
def test_no_address_breaks_the_backend(http: httpx.Client, text: str, query: str) -> None:
    for answer in (
        http.get("/generations", params={"cursor": query, "user": text}),
        http.get(f"/generations/{uuid4()}/events", params={"previews": query}),
    ):
        assert answer.status_code < 500, (text, query, answer.text)
