"""The entry points: /start, /help, /cancel, and closing a menu."""

from telegram import Chat, ChatMember, Update
from telegram.ext import BaseHandler, ChatMemberHandler, CommandHandler

from telegram_bot.context import Context, the_chat, the_query, the_user, toast
from telegram_bot.flows import menus
from telegram_bot.messages.callback_data import MenuPress
from telegram_bot.messages.view import View
from telegram_bot.texts import Markup


async def start(update: Update, context: Context) -> None:
    context.set_draft(None)
    await context.reply(update, await _home(update, context))


async def show_help(update: Update, context: Context) -> None:
    await context.reply(update, await _help(update, context))


async def cancel(update: Update, context: Context) -> None:
    """Drop the draft of this chat, or else cancel the newest generation in it."""
    easel, user, chat = context.easel, the_user(update), the_chat(update)
    in_progress = easel.deliveries.in_progress(user.id, chat.id)
    draft = context.person.draft
    if draft is not None and draft.chat_id == chat.id:
        context.set_draft(None)
        key = "cancel.draft"
    elif any(easel.tracker.cancel(delivery.generation) for delivery in in_progress):
        key = "cancel.job"
    else:
        key = "cancel.nothing"
    await context.reply(update, View(context.texts.html(key)))


async def on_help(update: Update, context: Context, _: MenuPress) -> None:
    await toast(the_query(update))
    await context.reply(update, await _help(update, context))


async def on_close(update: Update, context: Context, _: MenuPress) -> None:
    """Drop the draft and return to the first screen."""
    await toast(the_query(update), context.texts.plain("toast.closed"))
    context.set_draft(None)
    await context.change(the_query(update), await _home(update, context))


async def _home(update: Update, context: Context) -> View:
    """Build the first screen, which warns if no AI model draws."""
    catalogue, texts = context.easel.catalogue, context.texts
    modes = await catalogue.modes()
    greeting = texts.html("start.hello_sketches" if catalogue.sketches else "start.hello")
    return View(greeting, menus.home(texts, the_user(update).id, modes))


async def _help(update: Update, context: Context) -> View:
    texts, owner = context.texts, the_user(update).id
    text = texts.html("help.text")
    if context.is_admin:
        text = Markup(f"{text}\n\n{texts.html('help.admin')}")
    modes = await context.easel.catalogue.modes()
    return View(text, menus.home(texts, owner, modes))


async def on_membership(update: Update, context: Context) -> None:
    """Record that a person blocked or unblocked the bot."""
    change = update.my_chat_member
    if change is not None and change.chat.type == Chat.PRIVATE:
        blocked = change.new_chat_member.status == ChatMember.BANNED
        context.easel.people.set_blocked(change.chat.id, blocked)


def handlers() -> list[BaseHandler[Update, Context, None]]:
    return [
        ChatMemberHandler(on_membership, ChatMemberHandler.MY_CHAT_MEMBER),
        CommandHandler("start", start),
        CommandHandler("help", show_help),
        CommandHandler("cancel", cancel),
    ]


MENUS = {"help": on_help, "close": on_close}
