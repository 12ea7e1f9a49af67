"""Telegram's rules, and its wording when a bot breaks them."""

import json

import pytest

from telegram_bot.local.errors import NOT_MODIFIED
from tests.telegram_bot.local.conftest import TOKEN, Json, Local, picture

ME = 1001
GROUP = -1001700000001


@pytest.fixture
async def chat(local: Local) -> Local:
    """Start a local Telegram where Alex has written to the bot."""
    await local.says(ME, "/start")
    return local


_A: Json = {"text": "A", "callback_data": "a"}


def _inline(*rows: list[Json]) -> Json:
    return {"inline_keyboard": list(rows)}


async def test_a_malformed_token_is_unauthorized_and_a_wrong_method_not_found(local: Local) -> None:
    for token in ("nonsense", "0:abcdef", "12:"):
        answer = await local.http.get(f"/bot{token}/getMe")
        assert (answer.status_code, answer.json()["error_code"]) == (401, 401)
    assert "Not Found" in await local.refusal("getMeMore")
    assert (await local.http.get(f"/bot{TOKEN}/GETME")).json()["ok"]
    assert (await local.http.get(f"/file/bot{TOKEN}/photos/none.jpg")).status_code == 404


async def test_parameters_come_by_query_form_json_and_multipart(chat: Local) -> None:
    path = f"/bot{TOKEN}/sendMessage"
    fields = {"chat_id": str(ME), "text": "hi", "reply_markup": '{"force_reply":true}'}
    answers = [
        await chat.http.get(path, params=fields),
        await chat.http.post(path, data=fields),
        await chat.http.post(path, json={"chat_id": ME, "text": "hi"}),
        await chat.http.post(path, data=fields, files={"unused": b"x"}),
        await chat.http.post(path, params=fields),
    ]
    assert [a.json()["result"]["text"] for a in answers] == ["hi"] * 5
    broken = await chat.http.post(path, content=b"{", headers={"content-type": "application/json"})
    assert broken.status_code == 400


async def test_a_bot_writes_only_to_people_who_wrote_first(local: Local) -> None:
    assert await local.refusal("sendMessage", chat_id=ME, text="x") == (
        "Forbidden: bot can't initiate conversation with a user"
    )
    assert await local.refusal("sendMessage", chat_id=5, text="x") == "Bad Request: chat not found"
    assert await local.refusal("sendMessage", text="x") == "Bad Request: chat_id is empty"


async def test_a_blocked_bot_gets_an_update_and_a_refusal(chat: Local) -> None:
    await chat.http.post("/chat/people", json={"user_id": ME, "blocked": True})
    assert await chat.refusal("sendMessage", chat_id=ME, text="x") == (
        "Forbidden: bot was blocked by the user"
    )
    change = (await chat.updates())[-1]["my_chat_member"]
    assert change["new_chat_member"]["status"] == "kicked"
    await chat.http.post("/chat/people", json={"user_id": ME, "blocked": False})
    assert await chat.call("sendMessage", chat_id=ME, text="back")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "message text is empty"),
        (" \n ", "message text is empty"),
        ("a" * 4097, "message is too long"),
        ("😀" * 2049, "message is too long"),
    ],
)
async def test_texts_have_a_length(chat: Local, text: str, reason: str) -> None:
    assert await chat.refusal("sendMessage", chat_id=ME, text=text) == f"Bad Request: {reason}"


async def test_lengths_count_after_the_markup_is_gone(chat: Local) -> None:
    text = "<b>" + "a" * 4096 + "</b>"
    sent = await chat.call("sendMessage", chat_id=ME, text=text, parse_mode="HTML")
    assert len(sent["text"]) == 4096
    for length, fine in ((1024, True), (1025, False)):
        answer = await chat.upload(
            "sendPhoto", {"photo": picture()}, chat_id=ME, caption="a" * length
        )
        assert answer.json()["ok"] is fine
    assert answer.json()["description"] == "Bad Request: message caption is too long"


async def test_another_parse_mode_than_html_is_refused_by_name(chat: Local) -> None:
    for mode in ("MarkdownV2", "Markdown"):
        assert await chat.refusal("sendMessage", chat_id=ME, text="*x*", parse_mode=mode) == (
            f'Bad Request: unsupported parse_mode "{mode}": the local Telegram supports HTML only'
        )
    bold = [{"type": "bold", "offset": 0, "length": 1}]
    assert await chat.refusal("sendMessage", chat_id=ME, text="x", entities=bold) == (
        "Bad Request: the local Telegram supports HTML only, not entities"
    )
    sent = await chat.call("sendMessage", chat_id=ME, text="<b>x</b>", parse_mode="html")
    assert sent["entities"] == bold


async def test_an_edit_must_change_something(chat: Local) -> None:
    keyboard = _inline([_A])
    sent = await chat.call("sendMessage", chat_id=ME, text="one", reply_markup=keyboard)
    where = {"chat_id": ME, "message_id": sent["message_id"]}
    same = await chat.refusal("editMessageText", **where, text="one", reply_markup=keyboard)
    assert same == f"Bad Request: {NOT_MODIFIED}"
    edited = await chat.call("editMessageText", **where, text="one")
    assert "reply_markup" not in edited
    assert edited["edit_date"] >= edited["date"]
    assert (await chat.messages(ME))[-1]["edits"] == 1


async def test_a_bot_can_edit_only_its_own_existing_messages(chat: Local) -> None:
    theirs = (await chat.messages(ME))[0]["message_id"]
    for message_id, reason in (
        (theirs, "message can't be edited"),
        (7, "message to edit not found"),
    ):
        refused = await chat.refusal("editMessageText", chat_id=ME, message_id=message_id, text="x")
        assert refused == f"Bad Request: {reason}"
    text = await chat.call("sendMessage", chat_id=ME, text="x")
    where = {"chat_id": ME, "message_id": text["message_id"]}
    refused = await chat.refusal("editMessageCaption", **where, caption="x")
    assert refused == "Bad Request: there is no caption in the message to edit"
    photo = (await chat.upload("sendPhoto", {"photo": picture()}, chat_id=ME)).json()["result"]
    where = {"chat_id": ME, "message_id": photo["message_id"]}
    refused = await chat.refusal("editMessageText", **where, text="x")
    assert refused == "Bad Request: there is no text in the message to edit"


async def test_a_deleted_message_is_gone(chat: Local) -> None:
    sent = await chat.call("sendMessage", chat_id=ME, text="x")
    where = {"chat_id": ME, "message_id": sent["message_id"]}
    assert await chat.call("deleteMessage", **where)
    assert await chat.refusal("deleteMessage", **where) == (
        "Bad Request: message to delete not found"
    )
    assert all(m["message_id"] != sent["message_id"] for m in await chat.messages(ME))


@pytest.mark.parametrize(
    ("keyboard", "reason"),
    [
        (_inline([{"text": "A", "callback_data": "x" * 65}]), "BUTTON_DATA_INVALID"),
        (_inline([{"text": "A", "callback_data": "я" * 33}]), "BUTTON_DATA_INVALID"),
        (_inline([{"text": "A", "callback_data": ""}]), "BUTTON_DATA_INVALID"),
        (_inline([{"text": "A"}]), "Text buttons are unallowed in the inline keyboard"),
        (_inline([{"text": " ", "callback_data": "a"}]), "BUTTON_TEXT_INVALID"),
        (_inline([{"text": "A", "url": "javascript:alert(1)"}]), "wrong HTTP URL"),
        (_inline([_A for _ in range(9)]), "reply markup is too long"),
        (_inline(*([_A] for _ in range(101))), "reply markup is too long"),
        (_inline([{"text": "A", "copy_text": {"text": "x" * 257}}]), "BUTTON_COPY_TEXT_INVALID"),
        ({"inline_keyboard": [{"text": "A"}]}, "must be an Array of Arrays"),
        ("{", "can't parse reply keyboard markup JSON object"),
        ([], "object expected as reply markup"),
    ],
)
async def test_keyboards_have_rules(chat: Local, keyboard: object, reason: str) -> None:
    refused = await chat.refusal("sendMessage", chat_id=ME, text="x", reply_markup=keyboard)
    assert reason in refused


async def test_a_valid_keyboard_keeps_its_styles_and_copy_buttons(chat: Local) -> None:
    row: list[Json] = [
        {"text": "A", "callback_data": "я" * 32, "style": "danger"},
        {"text": "B", "copy_text": {"text": "seed 42"}},
        {"text": "C", "url": "https://example.org/"},
    ]
    sent = await chat.call("sendMessage", chat_id=ME, text="x", reply_markup=_inline(row))
    assert sent["reply_markup"] == _inline(row)


async def test_photos_have_limits(chat: Local) -> None:
    async def refused(data: bytes) -> str:
        answer = await chat.upload("sendPhoto", {"photo": data}, chat_id=ME)
        return str(answer.json()["description"])

    assert "too big for a photo" in await refused(bytes(10 * 1024 * 1024 + 1))
    assert await refused(picture(9000, 1001)) == "Bad Request: PHOTO_INVALID_DIMENSIONS"
    assert await refused(picture(210, 10)) == "Bad Request: PHOTO_INVALID_DIMENSIONS"
    assert await refused(b"no picture") == "Bad Request: IMAGE_PROCESS_FAILED"
    assert await refused(picture()[:60]) == "Bad Request: IMAGE_PROCESS_FAILED"
    assert await refused(b"") == "Bad Request: file must be non-empty"


async def test_documents_over_the_limits_are_refused(chat: Local) -> None:
    big = await chat.upload("sendDocument", {"document": bytes(20 * 1024 * 1024 + 1)}, chat_id=ME)
    file_id = big.json()["result"]["document"]["file_id"]
    assert await chat.refusal("getFile", file_id=file_id) == "Bad Request: file is too big"
    huge = await chat.upload("sendDocument", {"document": bytes(50 * 1024 * 1024 + 1)}, chat_id=ME)
    assert not huge.json()["ok"]


async def test_a_file_id_can_be_reused_for_the_same_kind_only(chat: Local) -> None:
    sent = (await chat.upload("sendPhoto", {"photo": picture()}, chat_id=ME)).json()["result"]
    file_id = sent["photo"][-1]["file_id"]
    again = await chat.call("sendPhoto", chat_id=ME, photo=file_id)
    assert again["photo"] == sent["photo"]
    assert await chat.refusal("sendDocument", chat_id=ME, document=file_id) == (
        "Bad Request: can't use file of type Photo as Document"
    )
    assert "wrong file identifier" in await chat.refusal("sendPhoto", chat_id=ME, photo="AgACxyz")
    path = (await chat.call("getFile", file_id=file_id))["file_path"]
    token = TOKEN.replace(":", "%3A")
    assert (await chat.http.get(f"/file/bot{token}/{path}")).content.startswith(b"\xff\xd8")


async def test_an_album_has_two_to_ten_items_of_one_kind(chat: Local) -> None:
    async def album(count: int, kind: str = "photo") -> Json:
        media = [{"type": "photo", "media": f"attach://p{i}"} for i in range(count)]
        if media:
            media[-1]["type"] = kind
        files = {f"p{i}": picture() for i in range(count)}
        answer = await chat.upload("sendMediaGroup", files, chat_id=ME, media=json.dumps(media))
        return dict(answer.json())

    assert not (await album(1))["ok"]
    assert not (await album(11))["ok"]
    assert not (await album(2, "document"))["ok"]
    sent = (await album(10))["result"]
    assert len({m["media_group_id"] for m in sent}) == 1


async def test_a_text_message_becomes_a_photo_but_never_a_text_again(chat: Local) -> None:
    sent = await chat.call("sendMessage", chat_id=ME, text="drawing")
    media = json.dumps({"type": "photo", "media": "attach://p", "caption": "done"})
    where = {"chat_id": ME, "message_id": sent["message_id"]}
    edited = await chat.upload("editMessageMedia", {"p": picture()}, **where, media=media)
    result = edited.json()["result"]
    assert result["caption"] == "done"
    assert "text" not in result
    missing = await chat.refusal("editMessageMedia", **where, media=media)
    assert missing == "Bad Request: photo not found"


async def test_a_callback_is_answered_once_and_in_time(chat: Local) -> None:
    keyboard = _inline([_A])
    sent = await chat.call("sendMessage", chat_id=ME, text="x", reply_markup=keyboard)
    message = chat.world.directory.chats[ME].messages[sent["message_id"]]
    too_old = "Bad Request: query is too old and response timeout expired or query ID is invalid"
    press = chat.world.press(chat.world.directory.people[ME], message, "a")
    query = (await chat.updates())[-1]["callback_query"]
    assert query["data"] == "a"
    assert query["message"]["message_id"] == sent["message_id"]
    assert await chat.call("answerCallbackQuery", callback_query_id=query["id"], text="ok")
    assert press.answered.result().text == "ok"
    assert await chat.refusal("answerCallbackQuery", callback_query_id=query["id"]) == too_old
    await chat.fault("stale_callback")
    await chat.fault("429")
    await chat.refusal("getMe")
    late = chat.world.press(chat.world.directory.people[ME], message, "a")
    assert await chat.refusal("answerCallbackQuery", callback_query_id=late.query_id) == too_old


async def test_replies_need_a_message_to_reply_to(chat: Local) -> None:
    first = (await chat.messages(ME))[0]["message_id"]
    reply = await chat.call(
        "sendMessage", chat_id=ME, text="x", reply_parameters={"message_id": first}
    )
    assert reply["reply_to_message"]["message_id"] == first
    gone: Json = {"message_id": 5}
    assert await chat.refusal("sendMessage", chat_id=ME, text="x", reply_parameters=gone) == (
        "Bad Request: message to be replied not found"
    )
    gone["allow_sending_without_reply"] = True
    assert await chat.call("sendMessage", chat_id=ME, text="x", reply_parameters=gone)


async def test_commands_have_rules_and_reach_the_right_people(chat: Local) -> None:
    for command, reason in (("Bad", "BOT_COMMAND_INVALID"), ("x" * 33, "BOT_COMMAND_INVALID")):
        commands = [{"command": command, "description": "d"}]
        assert reason in await chat.refusal("setMyCommands", commands=commands)
    await chat.call("setMyCommands", commands=[{"command": "a", "description": "all"}])
    await chat.call(
        "setMyCommands", commands=[{"command": "b", "description": "все"}], language_code="ru"
    )
    scope = {"type": "chat", "chat_id": GROUP}
    await chat.call("setMyCommands", commands=[{"command": "g", "description": "g"}], scope=scope)

    async def menu(user_id: int, chat_id: int) -> str:
        query = {"user_id": user_id, "chat_id": chat_id}
        return str(
            (await chat.http.get("/chat/state", params=query)).json()["commands"][0]["command"]
        )

    assert [await menu(1001, 1001), await menu(1002, 1002), await menu(1002, GROUP)] == [
        "a",
        "b",
        "g",
    ]


async def test_flood_limits_can_be_enforced(strict_local: Local) -> None:
    await strict_local.says(ME, "/start")
    answers = [
        await strict_local.http.post(
            f"/bot{TOKEN}/sendMessage", json={"chat_id": ME, "text": str(i)}
        )
        for i in range(8)
    ]
    flooded = next(a.json() for a in answers if a.status_code == 429)
    assert flooded["parameters"]["retry_after"] >= 1
    assert flooded["description"].startswith("Too Many Requests: retry after ")
