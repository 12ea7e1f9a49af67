"""The /settings command: a person's preferences."""

from telegram import Update
from telegram.ext import CommandHandler

from telegram_bot.context import Context, the_query, the_user, toast
from telegram_bot.messages.callback_data import MenuPress
from telegram_bot.messages.view import Button, View
from telegram_bot.texts import FORMS

_SWITCHES = ("previews", "as_file", "quiet")


async def settings(update: Update, context: Context) -> None:
    await context.reply(update, _view(context, the_user(update).id))


async def on_settings(update: Update, context: Context, _: MenuPress) -> None:
    await toast(the_query(update))
    await context.reply(update, _view(context, the_user(update).id))


async def on_switch(update: Update, context: Context, press: MenuPress) -> None:
    query, people = the_query(update), context.easel.people
    if press.argument in _SWITCHES:
        enabled = getattr(context.person.preferences, press.argument)
        people.prefer(press.owner, **{press.argument: not enabled})
    await toast(query, context.texts.plain("toast.saved"))
    await context.change(query, _view(context, press.owner))


async def on_language(update: Update, context: Context, press: MenuPress) -> None:
    query = the_query(update)
    code = press.argument if press.argument in FORMS else None
    context.easel.people.prefer(press.owner, language=code)
    await toast(query, context.texts.plain("toast.saved"))
    await context.change(query, _view(context, press.owner))


def _view(context: Context, owner: int) -> View:
    texts, preferences = context.texts, context.person.preferences
    switches = []
    for name in _SWITCHES:
        state = texts.plain("settings.on" if getattr(preferences, name) else "settings.off")
        label = texts.plain(f"settings.{name}", state=state)
        switches.append((Button(label, MenuPress(owner, "switch", name)),))
    languages = [
        Button(
            ("✅ " if code == texts.code else "")
            + context.easel.languages.of(code).plain("language.name"),
            MenuPress(owner, "language", code),
        )
        for code in FORMS
    ]
    return View(texts.html("settings.title"), (*switches, tuple(languages)))


def handlers() -> list[CommandHandler[Context, None]]:
    return [CommandHandler("settings", settings)]


MENUS = {"settings": on_settings, "switch": on_switch, "language": on_language}
