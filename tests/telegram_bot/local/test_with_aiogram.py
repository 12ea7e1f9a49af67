"""Every answer checked against the models of a second client library, aiogram."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiogram import Bot, Dispatcher, F
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import TelegramBadRequest, TelegramForbiddenError, TelegramRetryAfter
from aiogram.filters import CommandStart
from aiogram.methods.base import Response, TelegramMethod, TelegramType
from aiogram.types import (
    BotCommand,
    BotCommandScopeChat,
    BufferedInputFile,
    CallbackQuery,
    CopyTextButton,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaPhoto,
    Message,
    ReactionTypeEmoji,
    ReplyParameters,
)
from pydantic import BaseModel

from tests.telegram_bot.local.conftest import TOKEN, Local, picture

ME = 1001
GROUP = -1001700000001
KEYBOARD = InlineKeyboardMarkup(
    inline_keyboard=[
        [
            InlineKeyboardButton(text="Go", callback_data="go", style="success"),
            InlineKeyboardButton(text="Copy", copy_text=CopyTextButton(text="seed 42")),
        ]
    ]
)


def _unknown(value: object, path: str = "result") -> list[str]:
    """List the names in an answer that the library's models do not have."""
    if isinstance(value, list | tuple):
        return [name for i, item in enumerate(value) for name in _unknown(item, f"{path}[{i}]")]
    if not isinstance(value, BaseModel):
        return []
    names = [f"{path}.{name}" for name in value.model_extra or ()]
    for name in type(value).model_fields:
        names += _unknown(getattr(value, name), f"{path}.{name}")
    return names


class RefereeSession(AiohttpSession):
    """Collect every name in an answer that the models do not know."""

    def __init__(self, url: str) -> None:
        api = TelegramAPIServer(
            base=f"{url}/bot{{token}}/{{method}}", file=f"{url}/file/bot{{token}}/{{path}}"
        )
        super().__init__(api=api)
        self.unknown: list[str] = []

    def check_response(
        self, bot: Bot, method: TelegramMethod[TelegramType], status_code: int, content: str
    ) -> Response[TelegramType]:
        response = super().check_response(bot, method, status_code, content)
        self.unknown += _unknown(response.result, type(method).__name__)
        return response


@pytest.fixture
async def bot(local: Local) -> AsyncIterator[Bot]:
    session = RefereeSession(local.url)
    async with Bot(TOKEN, session=session) as bot:
        yield bot
    assert session.unknown == []


def _file(name: str = "picture.png") -> BufferedInputFile:
    return BufferedInputFile(picture(400, 300), name)


async def test_every_answer_fits_the_models(bot: Bot, local: Local) -> None:
    first = await local.says(ME, "/start")
    assert (await bot.get_me()).id == bot.id
    text = await bot.send_message(
        ME,
        "<i>x</i>",
        parse_mode="HTML",
        reply_markup=KEYBOARD,
        reply_parameters=ReplyParameters(message_id=first),
    )
    assert text.reply_to_message
    assert text.reply_to_message.message_id == first
    await bot.edit_message_text(text="y", chat_id=ME, message_id=text.message_id)
    media = InputMediaPhoto(media=_file(), caption="done")
    edited = await bot.edit_message_media(media, chat_id=ME, message_id=text.message_id)
    assert isinstance(edited, Message)
    assert edited.photo
    await edited.edit_caption(caption="better", reply_markup=KEYBOARD)
    await edited.edit_reply_markup()
    await bot.send_photo(ME, edited.photo[-1].file_id, has_spoiler=True)
    document = await bot.send_document(ME, _file(), caption="file")
    assert document.document
    album = await bot.send_media_group(ME, [media, InputMediaPhoto(media=edited.photo[0].file_id)])
    assert len(album) == 2
    file = await bot.get_file(document.document.file_id)
    data = await bot.download(file)
    assert data
    assert data.read() == picture(400, 300)
    assert await bot.send_chat_action(ME, "typing")
    assert await bot.set_message_reaction(ME, first, [ReactionTypeEmoji(emoji="🔥")])
    assert await bot.delete_message(ME, document.message_id)


async def test_the_bots_profile_fits_the_models(bot: Bot) -> None:
    await bot.set_my_commands([BotCommand(command="start", description="Begin")])
    scope = BotCommandScopeChat(chat_id=ME)
    await bot.set_my_commands([BotCommand(command="stats", description="Owner")], scope=scope)
    assert (await bot.get_my_commands(scope=scope))[0].command == "stats"
    assert await bot.delete_my_commands(scope=scope)
    await bot.set_my_name("Painter")
    await bot.set_my_description("Draws")
    await bot.set_my_short_description("Draws")
    assert (await bot.get_my_name()).name == "Painter"
    assert (await bot.get_my_description()).description == "Draws"
    assert (await bot.get_my_short_description()).short_description == "Draws"
    assert (await bot.get_webhook_info()).url == ""


async def test_every_kind_of_update_fits_the_models(bot: Bot, local: Local) -> None:
    await local.says(ME, "/start 😀 @someone")
    await local.says(ME, "@easel_local_bot hi", chat_id=GROUP)
    await local.send(user_id=ME, photos=[picture(), picture()], caption="two")
    await local.send(user_id=ME, document=picture(), file_name="p.png")
    sent = await bot.send_message(ME, "x", reply_markup=KEYBOARD)
    message = local.world.directory.chats[ME].messages[sent.message_id]
    local.world.press(local.world.directory.people[ME], message, "go")
    local.world.set_blocked(local.world.directory.people[ME], True)
    kinds = [update.event_type for update in await bot.get_updates()]
    assert kinds == ["message"] * 5 + ["callback_query", "my_chat_member"]


async def test_refusals_become_the_librarys_exceptions(bot: Bot, local: Local) -> None:
    await local.says(ME, "/start")
    with pytest.raises(TelegramBadRequest, match="message text is empty"):
        await bot.send_message(ME, " ")
    await local.fault("429", "sendMessage", seconds=4)
    with pytest.raises(TelegramRetryAfter) as flooded:
        await bot.send_message(ME, "x")
    assert flooded.value.retry_after == 4
    await local.fault("403")
    with pytest.raises(TelegramForbiddenError, match="blocked by the user"):
        await bot.send_message(ME, "x")


async def test_a_polling_bot_of_another_library_answers_messages_and_presses(
    bot: Bot, local: Local
) -> None:
    dispatcher = Dispatcher()

    @dispatcher.message(CommandStart())
    async def start(message: Message) -> Any:
        await message.answer("Hello", reply_markup=KEYBOARD)

    @dispatcher.callback_query(F.data == "go")
    async def go(query: CallbackQuery) -> Any:
        await query.answer("Going")
        if isinstance(query.message, Message):
            await query.message.edit_text("Gone")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            dispatcher.start_polling(bot, handle_signals=False, close_bot_session=False)
        )
        await local.says(ME, "/start")
        hello = (await local.sees(ME, lambda ms: len(ms) == 2))[-1]
        assert (await local.press(ME, hello["message_id"], "Go"))["answer"] == "Going"
        after = await local.sees(ME, lambda ms: bool(ms[-1]["edits"]))
        await dispatcher.stop_polling()
    assert after[-1]["text"] == "Gone"
