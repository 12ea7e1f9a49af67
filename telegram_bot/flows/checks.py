"""What is checked before anything is asked of the backend, and said when it does not fit."""

from telegram import Update

from backend.schemas import ModeInfo
from telegram_bot.catalogue import schema_of
from telegram_bot.context import PAUSED, Context, toast
from telegram_bot.generating.options import Options
from telegram_bot.messages.view import View
from telegram_bot.texts import Markup


async def fit(update: Update, context: Context, mode: ModeInfo, options: Options) -> bool:
    """Whether words and options can be taken; says what is wrong with them otherwise."""
    say = context.say
    if options.faults:
        lines = [say.html(fault.key, **fault.values) for fault in options.faults]
        await context.reply(
            update, View(say.html("option.faults", faults=Markup("\n".join(lines))))
        )
        return False
    limit = (schema_of(mode, "prompt") or {}).get("maxLength")
    if limit and len(options.prompt) > limit:
        n = len(options.prompt)
        shown = {
            "count": say.plain("number.group", n=n),
            "limit": say.plain("number.group", n=limit),
        }
        await context.reply(update, View(say.html("error.too_long", n=n, **shown)))
        return False
    return True


async def paused(update: Update, context: Context) -> bool:
    """Whether an admin has stopped new wishes; then says so, and answers the press."""
    reason = context.easel.database.note(PAUSED)
    if reason is None or context.is_admin:
        return False
    if update.callback_query is not None:
        await toast(update.callback_query)
    say = context.say
    text = say.html("error.paused_because", reason=reason) if reason else say.html("error.paused")
    await context.reply(update, View(text))
    return True
