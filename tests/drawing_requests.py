"""Requests to draw, right and wrong in every way, and what a good answer to the wrong ones is."""

import base64
import json
from typing import Any

import httpx
from hypothesis import strategies as st

from tests.gpu_server.pictures import samples

SMALL: dict[str, Any] = {"prompt": "a red fox", "seed": 7, "width": 256, "height": 256}
PNG = samples.saved(samples.halves(), "PNG")
PHOTO = base64.b64encode(PNG).decode()
GOOD: dict[str, dict[str, Any]] = {
    "free": {"mode": "free", **SMALL},
    "restyle": {"mode": "restyle", "image": PHOTO, "seed": 7, "width": 256, "height": 256},
}
FIELDS = [
    *("mode", "style", "prompt", "negative_prompt", "seed", "width", "height", "count"),
    *("strength", "image", "format", "timeout_s"),
]
REQUEST = json.dumps({key: v for key, v in GOOD["restyle"].items() if key != "image"})

WRONG_FIELDS: list[tuple[str, str, Any]] = [
    ("free", "mode", "fre"),
    ("free", "mode", 7),
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
    ("free", "count", 11),
    ("free", "count", [1]),
    ("free", "format", "gif"),
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
]
"""(mode, field, a value it does not take)."""

NO_REQUESTS: list[bytes] = [
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
]
"""Bodies that are no JSON object."""

WRONG_FORMS: list[tuple[list[Any], set[str]]] = [
    ([("image", ("a.png", PNG))], {"image", "prompt"}),
    ([("request", (None, REQUEST)), ("prompt", (None, "a fox"))], {"prompt"}),
    ([("mode", (None, "fre")), ("prompt", (None, "a fox"))], {"mode"}),
    (
        [("prompt", (None, "a")), ("width", (None, "512 px")), ("hue", (None, "1"))],
        {"width", "hue"},
    ),
    ([("prompt", (None, "a fox")), ("seed", (None, "9" * 5000))], {"seed"}),
    ([("prompt", (None, b"\xff\xfe"))], {"prompt"}),
    ([("prompt", (None, "a fox")), ("photo", ("a.png", PNG))], {"photo"}),
    ([("mode", (None, "restyle")), ("image", (None, ""))], {"image"}),
    ([("request", (None, "{"))], {"request"}),
    ([("request", (None, "[]"))], {"request"}),
    ([("request", (None, REQUEST))], {"image"}),
    ([("request", (None, REQUEST)), ("photo", ("a.png", PNG))], {"photo"}),
    ([("request", (None, json.dumps(GOOD["restyle"]))), ("image", ("a.png", PNG))], {"image"}),
    ([("request", (None, json.dumps(GOOD["free"]))), ("image", ("a.png", PNG))], {"image"}),
    ([("request", (None, "{}"))], {"prompt"}),
    ([("request", (None, REQUEST))] * 3, {"request"}),
    ([("image", ("a.png", PNG))] * 60, {"body"}),
]
"""Parts of a form, and the fields that are wrong with it."""

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


def send(http: httpx.Client, body: Any) -> httpx.Response:
    """As a careless client does: whatever Python writes as JSON."""
    headers = {"content-type": "application/json"}
    return http.post("/generate", content=json.dumps(body).encode(), headers=headers)


def problem(answer: httpx.Response) -> dict[str, Any]:
    """Return the answer's problem; it must be a caller's error as the contract has it."""
    assert 400 <= answer.status_code < 500, answer.text[:500]
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


def check(answer: httpx.Response, body: Any) -> None:
    """Drawn, or the caller's fault with a name."""
    if answer.status_code != 200:
        found = problem(answer)
        assert found["code"] in ("invalid_request", "invalid_image", "too_large"), (body, found)
        assert found["errors"]
