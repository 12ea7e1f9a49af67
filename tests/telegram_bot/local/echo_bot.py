"""A small bot on the real python-telegram-bot that echoes texts, photos and files."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from telegram import (
    CopyTextButton,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaPhoto,
    Update,
)
from telegram.ext import (
    Application,
    ApplicationBuilder,
    CallbackQueryHandler,
    CommandHandler,
    ContextTypes,
    MessageHandler,
    filters,
)

from tests.telegram_bot.local.conftest import TOKEN, Local

App = Application[Any, Any, Any, Any, Any, Any]
Context = ContextTypes.DEFAULT_TYPE
KEYBOARD = InlineKeyboardMarkup(
    [
        [InlineKeyboardButton("More", callback_data="j:1:more")],
        [
            InlineKeyboardButton("Copy", copy_text=CopyTextButton("red fox")),
            InlineKeyboardButton("Stop", callback_data="j:1:stop", style="danger"),
        ],
    ]
)


async def _start(update: Update, context: Context) -> None:
    assert update.effective_chat
    await context.bot.send_message(update.effective_chat.id, "Hello", reply_markup=KEYBOARD)


async def _echo_text(update: Update, _: Context) -> None:
    assert update.message
    await update.message.reply_text(f"<b>{update.message.text}</b>", parse_mode="HTML")


async def _echo_photo(update: Update, _: Context) -> None:
    assert update.message
    file = await update.message.photo[-1].get_file()
    data = bytes(await file.download_as_bytearray())
    progress = await update.message.reply_text("Drawing 50%")
    media = InputMediaPhoto(data, caption=f"back: {update.message.caption}")
    await progress.edit_media(media, reply_markup=KEYBOARD)


async def _echo_document(update: Update, _: Context) -> None:
    assert update.message
    assert update.message.document
    await update.message.reply_document(update.message.document.file_id, caption="same file")


async def _pressed(update: Update, _: Context) -> None:
    query = update.callback_query
    assert query
    await query.answer("Working on it", show_alert=query.data == "j:1:stop")
    if query.message and query.data == "j:1:more":
        await query.edit_message_text("Hello again")


def application(local: Local) -> App:
    app: App = (
        ApplicationBuilder()
        .token(TOKEN)
        .base_url(f"{local.url}/bot")
        .base_file_url(f"{local.url}/file/bot")
        .build()
    )
    app.add_handler(CommandHandler("start", _start))
    app.add_handler(CallbackQueryHandler(_pressed))
    app.add_handler(MessageHandler(filters.PHOTO, _echo_photo))
    app.add_handler(MessageHandler(filters.Document.ALL, _echo_document))
    app.add_handler(MessageHandler(filters.TEXT, _echo_text))
    return app


@asynccontextmanager
async def running(local: Local, **webhook: Any) -> AsyncIterator[App]:
    """Run the bot by polling, or by a webhook started with these arguments."""
    app = application(local)
    async with app:
        assert app.updater
        if webhook:
            await app.updater.start_webhook(**webhook)
        else:
            await app.updater.start_polling(timeout=5)
        await app.start()
        try:
            yield app
        finally:
            await app.updater.stop()
            await app.stop()
