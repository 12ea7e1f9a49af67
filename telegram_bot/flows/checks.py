"""Check a request before it goes to the backend, and tell the person what is wrong."""

from telegram import Update

from backend.schemas import ModeInfo
from telegram_bot.catalogue import schema_of
from telegram_bot.context import PAUSED, Context, toast
from telegram_bot.generating.options import Options
from telegram_bot.messages.view import View
from telegram_bot.texts import Markup


async def fit(update: Update, context: Context, mode: ModeInfo, options: Options) -> bool:
    """Return whether prompt and options are valid; if not, say what is wrong."""
    texts = context.texts
    if options.faults:
        faults = "\n".join(texts.html(fault.key, **fault.values) for fault in options.faults)
        await context.reply(update, View(texts.html("option.faults", faults=Markup(faults))))
        return False
    if options.prompt and schema_of(mode, "prompt") is None:
        await context.reply(update, View(texts.html("option.no_words", mode=texts.of(mode.title))))
        return False
    limit, n = (schema_of(mode, "prompt") or {}).get("maxLength"), len(options.prompt)
    if limit and n > limit:
        count, most = texts.plain("number.group", n=n), texts.plain("number.group", n=limit)
        text = texts.html("error.too_long", n=n, count=count, limit=most)
        await context.reply(update, View(text))
        return False
    return True


async def paused(update: Update, context: Context) -> bool:
    """Return whether an admin paused new requests; if so, say it and acknowledge the press."""
    reason = context.easel.database.note(PAUSED)
    if reason is None or context.is_admin:
        return False
    if update.callback_query is not None:
        await toast(update.callback_query)
    key = "error.paused_because" if reason else "error.paused"
    await context.reply(update, View(context.texts.html(key, reason=reason)))
    return True
