"""The /privacy command: what is stored, and how to delete all of it."""

from telegram import Update
from telegram.ext import CommandHandler

from telegram_bot.context import Context, the_query, the_user, toast
from telegram_bot.generating.request import backend_user
from telegram_bot.messages.callback_data import MenuPress
from telegram_bot.messages.view import Button, View


async def privacy(update: Update, context: Context) -> None:
    texts, owner = context.texts, the_user(update).id
    text = texts.html("privacy.text", n=context.easel.settings.bot_retention_days)
    button = Button(texts.plain("button.forget_me"), MenuPress(owner, "forget"), "danger")
    await context.reply(update, View(text, ((button,),)))


async def on_forget(update: Update, context: Context, press: MenuPress) -> None:
    texts = context.texts
    await toast(the_query(update))
    forget, keep = MenuPress(press.owner, "forget_sure"), MenuPress(press.owner, "close")
    sure = Button(texts.plain("button.forget_sure"), forget, "danger")
    keyboard = ((sure, Button(texts.plain("button.keep"), keep)),)
    await context.change(the_query(update), View(texts.html("privacy.sure"), keyboard))


async def on_forget_sure(update: Update, context: Context, press: MenuPress) -> None:
    """Delete at the backend first, so that a failure there does not look like success."""
    easel, texts = context.easel, context.texts
    await toast(the_query(update))
    for generation in easel.deliveries.of_user(press.owner):
        easel.tracker.cancel(generation)
    deleted = await easel.backend.delete_user(backend_user(press.owner))
    easel.people.forget(press.owner)
    await context.change(the_query(update), View(texts.html("privacy.done", n=deleted.images)))


def handlers() -> list[CommandHandler[Context, None]]:
    return [CommandHandler("privacy", privacy)]


MENUS = {"forget": on_forget, "forget_sure": on_forget_sure}
