"""/history: everything drawn for a person, one message to page through."""

from telegram import Update
from telegram.ext import CommandHandler

from telegram_bot import photos, presenter
from telegram_bot.callback_data import JobPress, MenuPress
from telegram_bot.catalogue import style_of
from telegram_bot.context import Context, the_query, the_user, toast
from telegram_bot.deliveries import Delivery
from telegram_bot.texts import Markup
from telegram_bot.view import Button, Keyboard, Media, View
from web.errors import NotFound


async def history(update: Update, context: Context) -> None:
    await context.reply(update, await _page(context, the_user(update).id, 0, favourites=False))


async def on_page(update: Update, context: Context, press: MenuPress) -> None:
    query = the_query(update)
    await toast(query)
    favourites, _, offset = press.argument.rpartition("/")
    view = await _page(context, press.owner, int(offset), favourites=bool(favourites))
    if view.media is None:
        await context.reply(update, view)
    else:
        await context.change(query, view)


async def _page(context: Context, owner: int, offset: int, *, favourites: bool) -> View:
    """One picture with its place among all; those the backend has deleted are passed over."""
    easel, say = context.easel, context.say
    while count := easel.deliveries.count_shown(owner, favourites):
        offset %= count
        delivery = easel.deliveries.shown(owner, offset, favourites)
        if delivery is None:
            break
        try:
            return await _view(context, delivery, offset, count, favourites=favourites)
        except NotFound:
            easel.deliveries.forget(delivery.generation)
    return View(say.html("history.no_favourites" if favourites else "history.empty"))


async def _view(
    context: Context, delivery: Delivery, offset: int, count: int, *, favourites: bool
) -> View:
    easel, say = context.easel, context.say
    generation = await easel.backend.get(delivery.generation)
    if not generation.images:
        raise NotFound
    if delivery.file_id:
        media = Media("photo", delivery.file_id)
    else:
        media = await photos.result(
            easel.backend, generation.id, 0, as_file=False, seed=generation.seed
        )
    mode = easel.catalogue.known(generation.mode)
    style = say.of(style_of(mode, generation.style).title) if mode else generation.style
    star = "⭐ " if delivery.favourite else ""
    facts = f"{star}{style} · {say.plain('job.seed', seed=generation.seed)}"
    text = say.html("history.caption", facts=facts, date=f"{generation.created_at:%d.%m.%Y}")
    if prompt := presenter.own_words(generation, mode):
        text = Markup(f"{text}\n{presenter.quote(say, prompt)}")
    paging = _paging(delivery.user_id, offset, count, favourites=favourites)
    filtering = Button(
        say.plain("button.all" if favourites else "button.favourites"),
        MenuPress(delivery.user_id, "history", "/0" if favourites else "f/0"),
    )
    actions = tuple(
        Button(say.plain(f"button.{action}"), JobPress(delivery.generation, action))
        for action in ("again", "png", "delete")
    )
    return View(text, (*paging, actions, (filtering,)), media)


def _paging(owner: int, offset: int, count: int, *, favourites: bool) -> Keyboard:
    kind = "f" if favourites else ""

    def turn(label: str, to: int) -> Button:
        return Button(label, MenuPress(owner, "history", f"{kind}/{to % count}"))

    if count == 1:
        return ()
    here = turn(f"{offset + 1}/{count}", offset)
    return ((turn("◀️", offset - 1), here, turn("▶️", offset + 1)),)


def handlers() -> list[CommandHandler[Context, None]]:
    return [CommandHandler("history", history)]


MENUS = {"history": on_page}
