"""The /history command: everything drawn for a person, paged through in one message."""

from collections.abc import Awaitable, Callable
from functools import partial

from telegram import Update
from telegram.error import BadRequest
from telegram.ext import CommandHandler

from telegram_bot.catalogue import style_of
from telegram_bot.context import Context, the_query, the_user, toast
from telegram_bot.generating import photos
from telegram_bot.messages import presenter
from telegram_bot.messages.callback_data import JobPress, MenuPress
from telegram_bot.messages.view import Button, Media, View, pager
from telegram_bot.storage.deliveries import Delivery
from web.errors import NotFound

FROM_HISTORY = "h"
"""Argument that tells a history page's buttons from those under a result."""

_Show = Callable[[View], Awaitable[object]]


async def history(update: Update, context: Context) -> None:
    await _show(context, lambda view: context.reply(update, view), the_user(update).id, 0)


async def on_page(update: Update, context: Context, press: MenuPress) -> None:
    await toast(the_query(update))
    favourites, _, offset = press.argument.rpartition("/")
    turn = partial(_turn, update, context)
    await _show(context, turn, press.owner, int(offset), favourites=bool(favourites))


async def show_again(update: Update, context: Context, delivery: Delivery) -> None:
    """Show the page of this generation again, among all and not only the favourites."""
    offset = context.easel.deliveries.offset_of(delivery)
    await _show(context, partial(_turn, update, context), delivery.user_id, offset)


async def _turn(update: Update, context: Context, view: View) -> None:
    if view.media is None:
        await context.reply(update, view)
    else:
        await context.change(the_query(update), view)


async def _show(
    context: Context, show: _Show, owner: int, offset: int, *, favourites: bool = False
) -> None:
    try:
        await show(await _page(context, owner, offset, favourites=favourites))
    except BadRequest:  # Telegram may have forgotten the file id
        await show(await _page(context, owner, offset, favourites=favourites, upload=True))


async def _page(
    context: Context, owner: int, offset: int, *, favourites: bool, upload: bool = False
) -> View:
    """Build the page of one image; forget and skip those that the backend has deleted.

    `upload` sends the image itself even if Telegram already has it.
    """
    easel, texts = context.easel, context.texts
    while count := easel.deliveries.count_shown(owner, favourites):
        offset %= count
        delivery = easel.deliveries.shown(owner, offset, favourites)
        if delivery is None:
            break
        try:
            if delivery.file_id and not upload:
                media = Media("photo", delivery.file_id)
            else:
                job = delivery.generation
                media = await photos.result(easel.backend, job, 0, as_file=False, seed=0)
            return await _view(context, delivery, media, offset, count, favourites=favourites)
        except NotFound:
            easel.deliveries.forget(delivery.generation)
    return View(texts.html("history.no_favourites" if favourites else "history.empty"))


async def _view(
    context: Context, delivery: Delivery, media: Media, offset: int, count: int, *, favourites: bool
) -> View:
    easel, texts = context.easel, context.texts
    generation = await easel.backend.get(delivery.generation)
    mode = easel.catalogue.known(generation.mode)
    style = texts.of(style_of(mode, generation.style).title) if mode else generation.style
    star = "⭐ " if delivery.favourite else ""
    facts = f"{star}{style} · {texts.plain('job.seed', seed=generation.seed)}"
    text = texts.html("history.caption", facts=facts, date=f"{generation.created_at:%d.%m.%Y}")
    text = presenter.with_quote(texts, text, presenter.own_prompt(generation, mode))
    owner, kind = delivery.user_id, "f" if favourites else ""
    paging = pager(offset, count, lambda to: MenuPress(owner, "history", f"{kind}/{to}"))
    toggle = Button(
        texts.plain("button.all" if favourites else "button.favourites"),
        MenuPress(owner, "history", "/0" if favourites else "f/0"),
    )
    actions = tuple(
        Button(texts.plain(f"button.{action}"), JobPress(delivery.generation, action, where))
        for action, where in (("again", ""), ("png", ""), ("delete", FROM_HISTORY))
    )
    return View(text, (*paging, actions, (toggle,)), media)


def handlers() -> list[CommandHandler[Context, None]]:
    return [CommandHandler("history", history)]


MENUS = {"history": on_page}
