"""Check who may use the bot: once, before anything else, for every kind of update."""

from telegram import Chat, Update, User
from telegram.constants import ChatID
from telegram.ext import ApplicationHandlerStop

from telegram_bot.addressing import caption_for_bot
from telegram_bot.context import Context, toast
from telegram_bot.messages.view import View
from telegram_bot.settings import Settings


def allowed(settings: Settings, user_id: int, chat_id: int | None) -> bool:
    """Return whether a person may use the bot: listed, in a listed group, an admin, or no list."""
    if not settings.bot_allowed_users or user_id in settings.bot_admins:
        return True
    return user_id in settings.bot_allowed_users or chat_id in settings.bot_allowed_users


async def let_in(update: Update, context: Context) -> None:
    """Let an update pass to the flows, or raise ApplicationHandlerStop."""
    user, chat = update.effective_user, update.effective_chat
    easel = context.easel
    if user is None or user.is_bot or user.id == ChatID.SERVICE_CHAT:
        await _ask_for_a_person(update, context)
        raise ApplicationHandlerStop
    welcome = allowed(easel.settings, user.id, chat.id if chat else None)
    if welcome and not easel.people.is_banned(user.id):
        private = chat is not None and chat.type == Chat.PRIVATE
        easel.people.record(user.id, user.language_code or "en", private)
        return
    await _turn_away(update, context, user)
    raise ApplicationHandlerStop


async def _ask_for_a_person(update: Update, context: Context) -> None:
    """Tell somebody who writes to the bot as a group or a channel that it has to know the person.

    Posts that Telegram forwards from a channel to its group are nobody's request.
    """
    message = update.message
    if message is None or message.sender_chat is None or message.is_automatic_forward:
        return
    settings, words = context.easel.settings, message.text or message.caption or ""
    addressed = caption_for_bot(message, context.bot) is not None or words.startswith("/")
    if addressed and allowed(settings, 0, message.chat.id):
        view = View(context.easel.languages.of(None).html("start.nobody"))
        await context.easel.editor.send(message.chat.id, view, reply_to=message.message_id)


async def _turn_away(update: Update, context: Context, user: User) -> None:
    texts = context.easel.languages.of(user.language_code)
    banned = context.easel.people.is_banned(user.id)
    if update.callback_query is not None:
        key = "toast.banned" if banned else "toast.private"
        await toast(update.callback_query, texts.plain(key, id=user.id), alert=True)
    elif update.message is not None and update.message.chat.type == Chat.PRIVATE:
        text = texts.html("start.banned" if banned else "start.private", id=user.id)
        await context.easel.editor.send(update.message.chat.id, View(text))
