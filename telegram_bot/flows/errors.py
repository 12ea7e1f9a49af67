"""Turn a handler's error into one sentence for the person; the details go to the log."""

import secrets
from contextlib import suppress

import structlog
from telegram import Chat, Message, Update
from telegram.error import BadRequest, Forbidden, NetworkError, TelegramError
from telegram.ext import CommandHandler, MessageHandler, filters

from telegram_bot.context import Context
from telegram_bot.messages import presenter
from telegram_bot.messages.refusals import forbids_writing
from telegram_bot.messages.view import View
from web.errors import EaselError, Internal, NotFound

log = structlog.get_logger("telegram_bot.flows.errors")


async def on_error(update: object, context: Context) -> None:
    """Handle every error that a handler raises; never show a traceback."""
    error = context.error
    code = secrets.token_hex(3).upper()
    chat = update.effective_chat if isinstance(update, Update) else None
    if isinstance(error, TelegramError) and forbids_writing(error):
        private = chat is not None and chat.type == Chat.PRIVATE
        if chat is not None and private and isinstance(error, Forbidden):
            context.easel.people.set_blocked(chat.id, True)
        log.info("bot_blocked")
        return
    if isinstance(error, NetworkError) and not isinstance(error, BadRequest):
        log.warning("telegram_unreachable", reason=type(error).__name__)
        return
    if isinstance(error, EaselError):
        log.info("request_failed", error=error.code, code=code)
    else:
        log.error("handler_failed", code=code, exc_info=error)
    if isinstance(update, Update) and chat is not None:
        await _tell(update, context, error, code)


async def _tell(update: Update, context: Context, error: BaseException | None, code: str) -> None:
    texts = context.texts
    if isinstance(error, NotFound):
        text = texts.html("job.gone")
    else:
        failure = error if isinstance(error, EaselError) else Internal()
        text = presenter.error_text(texts, failure.problem(), code, failure.retry_after)
    with suppress(TelegramError):
        await context.reply(update, View(text))


async def unknown(update: Update, context: Context) -> None:
    """Say, in private chats only, that the bot does not support a command or kind of message."""
    message = update.effective_message
    if isinstance(message, Message) and message.chat.id > 0:
        await context.reply(update, View(context.texts.html("start.unknown")))


def handlers() -> list[CommandHandler[Context, None] | MessageHandler[Context, None]]:
    return [MessageHandler(filters.COMMAND | filters.ATTACHMENT, unknown)]
