"""The real python-telegram-bot against the local Telegram: polling, webhook, every kind of call."""

import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import telegram
from telegram import BotCommand, InputMediaPhoto

from tests.telegram_bot.local.conftest import Json, Local, picture, until
from tests.telegram_bot.local.echo_bot import application, running


@pytest.fixture
async def bot(local: Local) -> AsyncIterator[telegram.Bot]:
    """Open the library's bot alone; Alex has written to it."""
    await local.says(1001, "/start")
    app = application(local)
    async with app.bot as bot:
        yield bot


def _answered(count: int) -> Any:
    return lambda messages: len(messages) >= count


async def test_a_polling_bot_answers_a_text_with_markup(local: Local) -> None:
    async with running(local):
        await local.says(1001, "good <morning")
        await local.says(1001, "day 😀")
        found = await local.sees(1001, _answered(3))
    answers = [m for m in found if m["from"]["is_bot"]]
    assert answers[-1]["text"] == "day 😀"
    assert answers[-1]["entities"] == [{"type": "bold", "offset": 0, "length": 6}]


async def test_a_photo_comes_back_in_place_of_the_progress_text(local: Local) -> None:
    async with running(local):
        await local.send(user_id=1001, photo=picture(640, 480), caption="a teal wall")
        found = await local.sees(1001, lambda ms: "photo" in ms[-1] and bool(ms[-1]["edits"]))
    answer = found[-1]
    assert answer["caption"] == "back: a teal wall"
    assert (answer["width"], answer["height"]) == (640, 480)
    assert [b["text"] for row in answer["buttons"] for b in row] == ["More", "Copy", "Stop"]
    image = await local.http.get(answer["photo"])
    assert image.headers["content-type"] == "image/jpeg"


async def test_a_document_is_sent_back_by_its_file_id(local: Local) -> None:
    async with running(local):
        await local.send(user_id=1001, document=b"%PDF-data", file_name="notes.pdf")
        found = await local.sees(1001, _answered(2))
    assert found[-1]["file_name"] == "notes.pdf"
    file = await local.http.get(found[-1]["document"])
    assert file.content == b"%PDF-data"
    assert file.headers["content-disposition"].startswith("attachment")


async def test_a_pressed_button_shows_the_toast_and_edits_the_message(local: Local) -> None:
    async with running(local):
        await local.says(1001, "/start")
        hello = (await local.sees(1001, _answered(2)))[-1]
        toast = await local.press(1001, hello["message_id"], "More")
        after = await local.sees(1001, lambda ms: bool(ms[-1]["edits"]))
    assert toast == {"answer": "Working on it", "alert": False, "url": None, "answered": True}
    assert after[-1]["text"] == "Hello again"
    assert after[-1]["message_id"] == hello["message_id"]


async def test_a_copy_button_works_without_the_bot(local: Local) -> None:
    async with running(local):
        await local.says(1001, "/start")
        hello = (await local.sees(1001, _answered(2)))[-1]
        assert (await local.press(1001, hello["message_id"], "Copy"))["copied"] == "red fox"
        assert (await local.press(1001, hello["message_id"], "j:1:stop"))["alert"] is True


async def test_a_webhook_bot_gets_updates_with_its_secret(local: Local) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    hook = {"listen": "127.0.0.1", "port": port, "url_path": "/hook", "secret_token": "s3cret"}
    async with running(local, **hook, webhook_url=f"http://127.0.0.1:{port}/hook") as app:
        await local.says(1002, "привет")
        found = await local.sees(1002, _answered(2))
        info = await app.bot.get_webhook_info()
    assert found[-1]["text"] == "привет"
    assert info.url.endswith("/hook")
    assert info.last_error_message is None


async def test_the_library_reads_every_answer(bot: telegram.Bot, local: Local) -> None:
    me = await bot.get_me()
    assert me.is_bot
    album = await bot.send_media_group(
        1001, [InputMediaPhoto(picture(colour=c), caption=c) for c in ("red", "blue")]
    )
    assert album[0].media_group_id == album[1].media_group_id
    sent = await bot.send_photo(1001, picture(1000, 500), caption="<b>wide</b>", parse_mode="HTML")
    assert [size.width for size in sent.photo] == [90, 320, 800, 1000]
    assert await bot.send_chat_action(1001, "upload_photo")
    again = await bot.send_photo(1001, sent.photo[-1].file_id)
    assert again.photo[-1].file_unique_id == sent.photo[-1].file_unique_id
    assert (await again.edit_caption("new")).caption == "new"  # type: ignore[union-attr]
    assert await again.delete()
    assert await bot.set_message_reaction(1001, sent.message_id, "👍")


async def test_commands_are_kept_per_language(bot: telegram.Bot) -> None:
    await bot.set_my_commands([BotCommand("start", "Begin")])
    await bot.set_my_commands([BotCommand("start", "Начать")], language_code="ru")
    assert (await bot.get_my_commands(language_code="ru"))[0].description == "Начать"
    await bot.delete_my_commands(language_code="ru")
    assert not await bot.get_my_commands(language_code="ru")
    await bot.set_my_short_description("Draws")
    assert (await bot.get_my_short_description()).short_description == "Draws"


async def test_faults_reach_the_library_as_its_own_exceptions(
    bot: telegram.Bot, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "true")  # the library's own switch for its next version
    await local.fault("429", "sendMessage", seconds=7)
    with pytest.raises(telegram.error.RetryAfter) as flooded:
        await bot.send_message(1001, "x")
    assert flooded.value.retry_after == timedelta(seconds=7)
    await local.fault("403", "sendMessage")
    with pytest.raises(telegram.error.Forbidden, match="bot was blocked by the user"):
        await bot.send_message(1001, "x")
    await local.fault("502", "sendMessage")
    with pytest.raises(telegram.error.NetworkError, match="Bad Gateway"):
        await bot.send_message(1001, "x")


async def test_a_call_that_times_out_still_takes_effect(bot: telegram.Bot, local: Local) -> None:
    await local.fault("timeout", "sendPhoto")
    with pytest.raises(telegram.error.TimedOut):
        await bot.send_photo(1001, picture(), read_timeout=0.3)
    found: list[Json] = await until(lambda: local.messages(1001), lambda ms: len(ms) == 2)
    assert "photo" in found[-1]
