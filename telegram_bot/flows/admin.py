"""Commands for BOT_ADMINS: /stats /queue /refusals /ban /unban /broadcast /pause /resume."""

import re
import time
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any

import structlog
from pydantic import BaseModel
from telegram import Update
from telegram.error import Forbidden, TelegramError
from telegram.ext import CommandHandler, filters

from telegram_bot.addressing import argument
from telegram_bot.context import PAUSED, Context, Declined, the_message, the_query, the_user, toast
from telegram_bot.flows import menus
from telegram_bot.messages import presenter
from telegram_bot.messages.callback_data import MenuPress
from telegram_bot.messages.rate_limiter import Urgency
from telegram_bot.messages.view import Button, View
from telegram_bot.storage.deliveries import DAY_S
from telegram_bot.texts import Markup, utf16_length

_DRAFT = "broadcast"
_MAX_BROADCAST = 3500
"""In UTF-16 units; Telegram allows 4096, and the preview adds a heading."""
_MAX_REFUSALS = 20
_ID = re.compile(r"[0-9]{1,16}")
log = structlog.get_logger("telegram_bot.flows.admin")
Handler = Callable[[Update, Context], Coroutine[Any, Any, None]]


class Broadcast(BaseModel):
    """A broadcast in progress, stored so that a killed bot can resume it.

    `people` is the number it is meant for; `reached` is the last user id that was tried.
    """

    text: str
    people: int
    sent: int = 0
    reached: int = 0


async def stats(update: Update, context: Context) -> None:
    easel, texts = context.easel, context.texts
    today = time.time() - DAY_S
    states = easel.deliveries.count_by_state(today)
    text = texts.html(
        "admin.stats",
        people=easel.people.count(),
        today=easel.people.count(today),
        delivered=states.get("delivered", 0),
        failed=states.get("failed", 0),
        cancelled=states.get("cancelled", 0),
        active=len(easel.tracker.tracked),
        reports=easel.deliveries.count_reports(),
    )
    reported = [
        texts.html("admin.reported", id=generation, n=n)
        for generation, n in easel.deliveries.reported()
    ]
    await context.reply(update, View(Markup("\n".join([text, *reported]))))


async def queue(update: Update, context: Context) -> None:
    health = await context.easel.backend.health()
    texts = context.texts
    lines = [
        texts.html(
            "admin.queue",
            waiting=health.queue.waiting,
            running=health.queue.running,
            limit=health.queue.limit,
            oldest=round(health.queue.oldest_seconds),
        )
    ]
    for pod in health.pods:
        key, reason = "admin.pod" if pod.in_service else "admin.pod_out", pod.reason or "-"
        lines.append(texts.html(key, name=pod.name, running=pod.running, reason=reason))
    await context.reply(update, View(Markup("\n".join(lines))))


async def refusals(update: Update, context: Context) -> None:
    """Show who was refused, for which category and how often; the prompts are not stored."""
    texts, counts = context.texts, await context.easel.backend.refusals()
    lines = [
        texts.html(
            "admin.refused",
            user=count.user,
            category=presenter.category(texts, count.category),
            count=count.count,
        )
        for count in counts[:_MAX_REFUSALS]
    ]
    head = texts.html("admin.refusals" if lines else "admin.no_refusals")
    await context.reply(update, View(Markup("\n".join([head, *lines]))))


async def ban(update: Update, context: Context) -> None:
    user_id = _target_user(update)
    if user_id is None or user_id in context.easel.settings.bot_admins:
        await context.reply(update, View(context.texts.html("admin.ban_whom")))
        return
    context.easel.people.ban(user_id)
    for delivery in context.easel.deliveries.pending():
        if delivery.user_id == user_id:
            context.easel.tracker.cancel(delivery.generation)
    await context.reply(update, View(context.texts.html("admin.banned", id=user_id)))


async def unban(update: Update, context: Context) -> None:
    user_id = _target_user(update)
    unbanned = user_id is not None and context.easel.people.unban(user_id)
    key = "admin.unbanned" if unbanned else "admin.ban_whom"
    await context.reply(update, View(context.texts.html(key, id=user_id)))


async def pause(update: Update, context: Context) -> None:
    """Refuse new requests, except from admins; generations in progress continue."""
    context.easel.database.set_note(PAUSED, argument(the_message(update))[:200])
    await context.reply(update, View(context.texts.html("admin.paused")))


async def resume(update: Update, context: Context) -> None:
    context.easel.database.set_note(PAUSED, None)
    await context.reply(update, View(context.texts.html("admin.resumed")))


async def broadcast(update: Update, context: Context) -> None:
    """Preview a broadcast and count its recipients; a button sends it."""
    easel, texts, owner = context.easel, context.texts, the_user(update).id
    text = argument(the_message(update))
    if not text or utf16_length(text) > _MAX_BROADCAST:
        await context.reply(update, View(texts.html("admin.broadcast_what", n=_MAX_BROADCAST)))
        return
    count = len(easel.people.reachable())
    easel.database.set_note(f"{_DRAFT}/{owner}", text)
    label = texts.plain("button.broadcast", n=count)
    buttons = (
        Button(label, MenuPress(owner, "broadcast"), "danger"),
        *menus.cancel_row(texts, owner),
    )
    await context.reply(update, View(texts.html("admin.preview", n=count, text=text), (buttons,)))


async def on_broadcast(update: Update, context: Context, press: MenuPress) -> None:
    easel, query = context.easel, the_query(update)
    draft, note = f"{_DRAFT}/{press.owner}", f"{_DRAFT}/{press.owner}/{update.update_id}"
    text, in_progress = easel.database.note(draft), easel.database.note(note)
    if not context.is_admin or (text is None and in_progress is None):
        raise Declined("toast.old_button")
    await toast(query)
    if in_progress is None:
        state = Broadcast(text=str(text), people=len(easel.people.reachable()))
        easel.database.set_note(note, state.model_dump_json())
        easel.database.set_note(draft, None)
    context.in_background(update, _broadcast(update, context, note))


async def _broadcast(update: Update, context: Context, note: str) -> None:
    easel, texts = context.easel, context.texts
    state = Broadcast.model_validate_json(easel.database.note(note) or "")
    view = View(texts.html("admin.message", text=state.text))
    for user_id in easel.people.reachable(after=state.reached):
        state.reached = user_id
        try:
            await easel.editor.send(user_id, view, urgency=Urgency.BULK)
            state.sent += 1
        except Forbidden:
            easel.people.set_blocked(user_id, True)
        except TelegramError as error:  # skip this person; the others may be reachable
            log.warning("broadcast_message_failed", reason=error.message)
        easel.database.set_note(note, state.model_dump_json())
    done = View(texts.html("admin.sent", sent=state.sent, n=state.people))
    with suppress(TelegramError):  # the preview may be deleted
        await context.change(the_query(update), done)
    easel.database.set_note(note, None)


def _target_user(update: Update) -> int | None:
    words = argument(the_message(update))
    if _ID.fullmatch(words):
        return int(words)
    replied = the_message(update).reply_to_message
    return replied.from_user.id if replied and replied.from_user and not words else None


COMMANDS: dict[str, Handler] = {
    "stats": stats,
    "queue": queue,
    "refusals": refusals,
    "ban": ban,
    "unban": unban,
    "broadcast": broadcast,
    "pause": pause,
    "resume": resume,
}


def handlers(admins: Collection[int]) -> list[CommandHandler[Context, None]]:
    """Return the handlers of the commands; those of other people are unknown commands."""
    return [CommandHandler(n, handler, filters.User(admins)) for n, handler in COMMANDS.items()]


MENUS = {"broadcast": on_broadcast}
