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

from tests.services import Pod, until
from tests.web import pictures
from web.photos import MAX_BYTES

SMALL: dict[str, Any] = {"prompt": "a red fox", "seed": 7, "width": 256, "height": 256}
PNG = pictures.saved(pictures.halves(), "PNG")
PHOTO = base64.b64encode(PNG).decode()
GOOD: dict[str, dict[str, Any]] = {
    "free": {"mode": "free", **SMALL},
    "restyle": {"mode": "restyle", "image": PHOTO, "seed": 7, "width": 256, "height": 256},
}
FIELDS = [
    *("mode", "style", "prompt", "negative_prompt", "seed", "width", "height", "count"),
    *("strength", "image", "format", "timeout_s"),
]


@pytest.fixture(scope="module", autouse=True)
def nothing_left(sketches: Pod) -> Iterator[None]:
    yield
    until(lambda: not sketches.left_behind(), "every file of a job is gone")


@pytest.fixture(scope="module")
def http(sketches: Pod) -> Iterator[httpx.Client]:
    with sketches.http() as client:
        yield client


def problem(answer: httpx.Response) -> dict[str, Any]:
    """The answer's problem; it must be the caller's fault, told as the contract has it."""
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == answer.status_code
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


def faults(answer: httpx.Response, code: str = "invalid_request") -> dict[str, Any]:
    """Field → what is allowed, of a request that was refused with this code."""
    found = problem(answer)
    assert found["code"] == code
    for fault in found["errors"]:
        assert fault["message"]
        assert f"{fault['field']}: {fault['message']}" in found["detail"]
    return {fault["field"]: fault["allowed"] for fault in found["errors"]}


@pytest.mark.parametrize(
    ("mode", "field", "value"),
    [
        ("free", "mode", "fre"),
        ("free", "mode", 7),
        ("free", "mode", None),
        ("free", "mode", ["free"]),
        ("free", "style", "anme"),
        ("free", "style", 7),
        ("free", "style", ["anime"]),
        ("free", "style", {"name": "anime"}),
        ("free", "prompt", None),
        ("free", "prompt", ""),
        ("free", "prompt", " \t\n"),
        ("free", "prompt", 7),
        ("free", "prompt", "x" * 1501),
        ("free", "prompt", "\x00"),
        ("free", "prompt", "\ud800"),
        ("free", "negative_prompt", []),
        ("free", "seed", -1),
        ("free", "seed", 2**53),
        ("free", "seed", 1.5),
        ("free", "seed", "7"),
        ("free", "seed", True),
        ("free", "width", 255),
        ("free", "width", 257),
        ("free", "width", 2056),
        ("free", "width", "wide"),
        ("free", "height", 10**30),
        ("free", "count", 0),
        ("free", "count", 9),
        ("free", "count", [1]),
        ("free", "format", "gif"),
        ("free", "format", None),
        ("free", "format", 7),
        ("free", "timeout_s", 0),
        ("free", "timeout_s", "soon"),
        ("free", "image", PHOTO),
        ("free", "strength", 0.5),
        ("free", "user", "me"),
        ("free", "", 1),
        ("free", "x" * 100, 1),
        ("free", "\ud800", 1),
        ("free", "__class__", 1),
        ("free", "model_extra", 1),
        ("restyle", "strength", -0.1),
        ("restyle", "strength", 1.1),
        ("restyle", "strength", "much"),
        ("restyle", "strength", 10**400),
        ("restyle", "image", None),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(
    http: httpx.Client, mode: str, field: str, value: Any
) -> None:
    found = faults(send(http, {**GOOD[mode], field: value}))
    shown = field[:60].encode(errors="replace").decode()
    assert list(found) == [shown]
    assert found[shown]


def send(http: httpx.Client, body: Any) -> httpx.Response:
    """As a careless client does: whatever Python writes as JSON."""
    headers = {"content-type": "application/json"}
    return http.post("/generate", content=json.dumps(body).encode(), headers=headers)


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


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"prompt"',
        b"\xff\xfe\x00",
        b"{'prompt': 'a'}",
        b'{"prompt": "a",}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"prompt=a+fox",
        PNG,
        b"7" * 5000,
    ],
    ids=range(15),
)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream", ""])
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
    assert set(faults(answer)) <= {"body", "request"}


REQUEST = json.dumps({key: v for key, v in GOOD["restyle"].items() if key != "image"})


@pytest.mark.parametrize(
    ("parts", "fields"),
    [
        ([("image", ("a.png", PNG))], {"request"}),
        ([("request", (None, "{"))], {"request"}),
        ([("request", (None, "[]"))], {"request"}),
        ([("request", (None, REQUEST))], {"image"}),
        ([("request", (None, REQUEST)), ("photo", ("a.png", PNG))], {"photo"}),
        ([("request", (None, json.dumps(GOOD["restyle"]))), ("image", ("a.png", PNG))], {"image"}),
        ([("request", (None, json.dumps(GOOD["free"]))), ("image", ("a.png", PNG))], {"image"}),
        ([("request", (None, "{}"))], {"prompt"}),
        ([("request", (None, REQUEST))] * 3, {"body"}),
        ([("request", (None, "x" * 1_100_000))], {"body"}),
    ],
    ids=range(10),
)
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
@pytest.mark.parametrize("kind", pictures.BAD)
def test_a_photo_that_cannot_be_used_is_refused_in_words(http: httpx.Client, kind: str) -> None:
    data, message = pictures.BAD[kind]
    packed = base64.b64encode(data).decode()
    answers = [
        send(http, {**GOOD["restyle"], "image": packed}),
        http.post("/generate", files={"request": (None, REQUEST), "image": ("a.png", data)}),
    ]
    for answer in answers:
        assert list(faults(answer, "invalid_image")) == ["image"]
        assert problem(answer)["detail"] == f"image: {message}"


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


@pytest.mark.parametrize("kind", pictures.GOOD)
def test_every_kind_of_photo_is_redrawn(http: httpx.Client, kind: str) -> None:
    body = {**GOOD["restyle"], "style": "chatgpt", "format": "jpeg"}
    body["image"] = base64.b64encode(pictures.GOOD[kind]).decode()
    assert send(http, body).status_code == 200


def test_names_of_files_are_never_the_callers(http: httpx.Client, sketches: Pod) -> None:
    for name in ("../../../evil.png", "/etc/passwd", "a\0b.png", "photo.png [output]"):
        files: Any = {"request": (None, REQUEST), "image": (name, PNG)}
        assert http.post("/generate", files=files).status_code in (200, 422)
    assert not list(sketches.engine.parent.rglob("evil*"))
    for name in ("../../x.png", "easel/other/photo.png", "/etc/passwd"):
        assert send(http, {**GOOD["restyle"], "image": name}).status_code == 422


# -- at random -----------------------------------------------------------------------------

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**400)
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.sampled_from(["free", "restyle", "anime", "png", PHOTO, 256, 512, 0.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from(FIELDS) | st.text(st.characters(codec=None), max_size=80)


def check(answer: httpx.Response, body: Any) -> None:
    """Drawn, or the caller's fault with a name."""
    if answer.status_code != 200:
        found = problem(answer)
        assert found["code"] in ("invalid_request", "invalid_image", "too_large"), (body, found)
        assert found["errors"]


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
