"""Bad input of any kind is refused with a reason and never crashes the server."""

import itertools
import json

import httpx
import pytest

from telegram_bot.local.bot_api.server import METHODS
from tests.telegram_bot.local.conftest import TOKEN, Json, Local

ME = 1001
NAMES = (
    *("text", "caption", "parse_mode", "reply_markup", "media"),
    *("photo", "document", "reply_parameters", "action", "commands"),
    *("scope", "language_code", "name", "description", "short_description"),
    *("file_id", "url", "secret_token", "allowed_updates", "offset", "limit", "user_id"),
    *("reaction", "callback_query_id", "show_alert"),
)
NASTY: list[object] = [
    None,
    -1,
    10**30,
    1.5,
    True,
    "",
    "--5",
    "٣",
    "\x00",
    "\ud800",
    "{",
    "[",
    "[[]]",
    "[1]",
    '{"a": 1}',
    '["\\ud800"]',
    "http://[::",
    "attach://none",
    "<b",
    "*",
    "a" * 40000,
    [],
    {},
    [[]],
    [None, 1, "x", {}],
    {"inline_keyboard": [[{"text": "\ud800", "callback_data": "a"}]]},
    {"inline_keyboard": [[None]]},
    {"keyboard": [[{}]]},
    {"type": [], "media": {}, "message_id": "x", "chat_id": "x", "caption": 5, "text": []},
    [{"type": "bold", "offset": "0", "length": None}, {"type": [], "offset": 0, "length": 1}],
]


async def _post(local: Local, path: str, body: Json) -> httpx.Response:
    """Send the body as ASCII JSON, whose escapes can carry lone surrogates."""
    headers = {"content-type": "application/json"}
    return await local.http.post(path, content=json.dumps(body), headers=headers)


async def test_no_parameter_breaks_a_method(local: Local) -> None:
    await local.says(ME, "/start")
    sent = await local.call("sendMessage", chat_id=ME, text="x")
    for method, nasty in itertools.product(METHODS, NASTY):
        fields: Json = dict.fromkeys(NAMES, nasty)
        where = {"chat_id": ME, "message_id": sent["message_id"]}
        for body in (fields | where, fields | dict.fromkeys(where, nasty)):
            answer = await _post(local, f"/bot{TOKEN}/{method}", body)
            assert answer.status_code in (200, 400, 403, 409), (method, nasty, answer.text)
            assert answer.json()["ok"] is (answer.status_code == 200)
    assert (await local.http.get("/chat/messages", params={"user_id": ME})).status_code == 200
    assert (await local.http.get("/chat/calls")).status_code == 200


async def test_no_field_breaks_the_chat_interface(local: Local) -> None:
    routes = {
        "send": ("text", "photo", "photos", "document", "caption", "reply_to", "file_name"),
        "press": ("message_id", "button", "chat_id"),
        "fault": ("method", "fault", "count", "chat_id", "seconds"),
        "people": ("first_name", "language_code", "blocked"),
        "hook": ("name",),
    }
    for path, names in routes.items():
        for name, nasty in itertools.product(names, NASTY):
            answer = await _post(local, f"/chat/{path}", {"user_id": ME, name: nasty})
            assert answer.status_code < 500, (path, name, nasty, answer.text)
    for path in ("messages", "state"):
        answer = await local.http.get(f"/chat/{path}", params={"user_id": ME})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"\xff\xfe"),
        ("application/json", b"[1]"),
        ("multipart/form-data", b"--x"),
        ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
        ("application/x-www-form-urlencoded", b"chat_id=%ff&text=%ed%a0%80"),
        ("text/plain", b"chat_id=1"),
    ],
)
async def test_no_body_breaks_a_method(local: Local, content_type: str, body: bytes) -> None:
    headers = {"content-type": content_type}
    answer = await local.http.post(f"/bot{TOKEN}/sendMessage", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["ok"] is False
