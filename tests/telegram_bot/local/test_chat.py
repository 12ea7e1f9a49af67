"""The chat interface for the page and scripts, and its guard against other websites."""

import asyncio
import json

import pytest

from tests.telegram_bot.local.conftest import TOKEN, Local, picture

ME = 1001
GROUP = -1001700000001


async def test_a_new_user_can_write_at_once(local: Local) -> None:
    await local.says(77, "hello")
    update = (await local.updates())[0]["message"]
    assert update["from"] == {
        "id": 77,
        "is_bot": False,
        "first_name": "User 77",
        "language_code": "en",
    }
    assert update["chat"]["id"] == 77
    assert await local.call("sendMessage", chat_id=77, text="hi")


async def test_messages_can_be_read_after_a_given_one(local: Local) -> None:
    first = await local.says(ME, "one")
    await local.says(ME, "two")
    answer = await local.http.get("/chat/messages", params={"user_id": ME, "after": first})
    assert [m["text"] for m in answer.json()] == ["two"]


async def test_a_long_text_is_split_as_the_apps_do(local: Local) -> None:
    await local.says(ME, "я" * 4095 + "😀" + "я" * 900)
    first, second = [m["text"] for m in await local.messages(ME)]
    assert (len(first), second[0], len(second)) == (4095, "😀", 901)


async def test_a_huge_photo_of_a_person_is_made_smaller_as_the_apps_do(local: Local) -> None:
    await local.send(user_id=ME, photo=picture(9000, 2000, "JPEG"))
    sizes = (await local.updates())[0]["message"]["photo"]
    assert [size["width"] for size in sizes] == [90, 320, 800, 1280, 2560]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"user_id": ME}, 422, "exactly one of"),
        ({"user_id": ME, "text": " "}, 422, "empty"),
        ({"user_id": ME, "text": "a", "photo": "b"}, 422, "exactly one of"),
        ({"user_id": ME, "photo": "!!"}, 422, "base64"),
        ({"user_id": ME, "photo": "aGVsbG8="}, 400, "IMAGE_PROCESS_FAILED"),
        ({"user_id": ME, "photos": []}, 422, "at least 1"),
        ({"user_id": -5, "text": "a"}, 422, "positive"),
        ({"user_id": 9, "chat_id": GROUP, "text": "a"}, 404, "is in no chat"),
        ({"user_id": ME, "text": "a", "reply_to": 1}, 404, "no message 1"),
        ({"user_id": ME, "txt": "a"}, 422, "Extra inputs"),
    ],
)
async def test_a_message_that_cannot_be_sent_is_refused_with_the_reason(
    local: Local, body: dict[str, object], status: int, reason: str
) -> None:
    answer = await local.http.post("/chat/send", json=body)
    assert answer.status_code == status
    assert reason in answer.text


async def test_the_refusal_of_a_missing_button_names_the_existing_ones(local: Local) -> None:
    message = await local.says(ME, "/start")
    keyboard = {"inline_keyboard": [[{"text": "Yes", "callback_data": "y"}]]}
    sent = await local.call("sendMessage", chat_id=ME, text="?", reply_markup=keyboard)
    for message_id, reason in ((sent["message_id"], "it has: 'Yes'"), (message, "it has: none")):
        body = {"user_id": ME, "message_id": message_id, "button": "No"}
        answer = await local.http.post("/chat/press", json=body)
        assert answer.status_code == 404
        assert reason in answer.json()["detail"]


async def test_a_blocked_bot_cannot_be_written_to(local: Local) -> None:
    await local.http.post("/chat/people", json={"user_id": ME, "blocked": True})
    answer = await local.http.post("/chat/send", json={"user_id": ME, "text": "x"})
    assert answer.status_code == 409


async def test_the_language_of_a_person_reaches_the_bot(local: Local) -> None:
    await local.http.post("/chat/people", json={"user_id": ME, "language_code": "ru"})
    await local.says(ME, "привет")
    assert (await local.updates())[0]["message"]["from"]["language_code"] == "ru"


async def test_the_inspector_shows_calls_without_file_contents(local: Local) -> None:
    await local.says(ME, "/start")
    await local.upload("sendPhoto", {"photo": ("p.png", picture())}, chat_id=ME)
    await local.refusal("sendMessage", chat_id=ME, text="")
    photo, text = (await local.http.get("/chat/calls")).json()
    assert photo["method"] == "sendPhoto"
    assert photo["request"]["photo"] == f"<p.png, {len(picture())} bytes>"
    assert (text["status"], text["response"]) == (400, "Bad Request: message text is empty")
    assert TOKEN not in json.dumps([photo, text])


async def test_the_page_gets_events_for_messages_edits_and_actions(local: Local) -> None:
    events_seen: list[str] = []
    async with asyncio.timeout(20), local.http.stream("GET", "/chat/events") as events:
        lines = events.aiter_lines()
        await anext(lines)
        await local.says(ME, "/start")
        await local.call("sendChatAction", chat_id=ME, action="upload_photo")
        sent = await local.call("sendMessage", chat_id=ME, text="one")
        where = {"chat_id": ME, "message_id": sent["message_id"]}
        await local.call("editMessageText", **where, text="two")
        await local.call("deleteMessage", **where)
        async for line in lines:
            if line.startswith("data: "):
                events_seen.append(json.loads(line.removeprefix("data: "))["type"])
            if events_seen[-1:] == ["deleted"]:
                break
    assert [kind for kind in events_seen if kind != "call"] == [
        "message",
        "action",
        "message",
        "message",
        "deleted",
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8081"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    ],
)
async def test_other_websites_are_kept_out(local: Local, headers: dict[str, str]) -> None:
    for path in ("/chat/send", f"/bot{TOKEN}/getMe"):
        answer = await local.http.post(path, json={"user_id": ME, "text": "x"}, headers=headers)
        assert answer.status_code == 403
    assert await local.messages(ME) == []


async def test_the_page_loads_nothing_foreign_and_cannot_be_framed(local: Local) -> None:
    answer = await local.http.get("/", headers={"Origin": local.url})
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


async def test_a_document_is_never_shown_as_a_page(local: Local) -> None:
    await local.send(user_id=ME, document=b"<script>1</script>", file_name="x.html")
    url = (await local.messages(ME))[0]["document"]
    answer = await local.http.get(url)
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_file_name_is_only_a_name(local: Local) -> None:
    name = "../../etc/фото\r\nX-Evil: 1.png"
    await local.send(user_id=ME, document=picture(), file_name=name)
    message = (await local.messages(ME))[0]
    assert message["file_name"] == name.rpartition("/")[2]
    answer = await local.http.get(message["document"])
    assert "x-evil" not in answer.headers
    assert answer.headers["content-disposition"].endswith("%0D%0AX-Evil%3A%201.png")


async def test_the_number_of_kept_messages_is_bounded(local: Local) -> None:
    await local.says(ME, "oldest")
    await local.says(ME, "z" * 4096 * 999)
    assert (await local.messages(ME))[0]["text"] == "oldest"
    await local.says(ME, "newest")
    kept = await local.messages(ME)
    assert (len(kept), kept[0]["text"][0], kept[-1]["text"]) == (1000, "z", "newest")
