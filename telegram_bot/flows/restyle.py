"""Restyle photo: a photo or an image file starts it; then style, strength, words if wanted."""

import asyncio

from telegram import Message, Update
from telegram.ext import CommandHandler, MessageHandler, filters

from backend.schemas import ModeInfo
from telegram_bot.addressing import text_for_bot
from telegram_bot.catalogue import schema_of, strengths, style_of
from telegram_bot.context import Context, the_chat, the_message, the_query, the_user, toast
from telegram_bot.flows import checks, menus
from telegram_bot.generating import photos
from telegram_bot.generating.options import parse
from telegram_bot.generating.request import draw_request
from telegram_bot.messages.callback_data import MenuPress
from telegram_bot.messages.editor import Place
from telegram_bot.messages.view import Button, View, rows
from telegram_bot.storage.people import Draft

_ALBUM_PAUSE_S = 1.0
_MOST_ALBUM = 10


async def on_photo(update: Update, context: Context) -> None:
    """A photo, or an image as a file."""
    message = the_message(update)
    words = text_for_bot(message, context.bot)
    if words is None and not _album_goes_on(update, context):
        return
    sent = photos.sent_photo(message)
    if sent is None:
        await context.reply(update, View(context.texts.html("restyle.not_a_photo")))
        return
    file_id, size = sent
    if size > photos.MAX_BYTES:
        await context.reply(update, View(context.texts.html("error.too_large")))
        return
    if message.media_group_id:
        await _collect(update, context, file_id, words or "")
        return
    await begin(update, context, photos.from_file(file_id), words or "")


async def on_command(update: Update, context: Context) -> None:
    """/restyle, best as an answer to a photo."""
    replied = the_message(update).reply_to_message
    sent = photos.sent_photo(replied) if replied else None
    _, _, words = (the_message(update).text or "").partition(" ")
    if sent:
        await begin(update, context, photos.from_file(sent[0]), words)
        return
    mode = await context.easel.catalogue.for_photo()
    context.set_draft(Draft(mode=mode.name, chat_id=the_chat(update).id, step="style"))
    keyboard = (menus.cancel_row(context.texts, the_user(update).id),)
    await context.reply(update, View(context.texts.html("restyle.send_photo"), keyboard))


async def begin(update: Update, context: Context, photo: str, text: str) -> None:
    """A photo is there: ask for what the words with it do not say."""
    person = context.person
    mode = await _mode(context, person.draft)
    options = parse(text, mode, person.preferences.styles.get(mode.name))
    if not await checks.fit(update, context, mode, options):
        return
    style = options.values.pop("style", None)
    draft = Draft(
        mode=mode.name,
        chat_id=the_chat(update).id,
        step="style",
        style=style,
        words=options.prompt,
        photo=photo,
        values=options.values,
    )
    await go_on(update, context, draft)


async def go_on(update: Update, context: Context, draft: Draft) -> None:
    """The next question, or the drawing."""
    texts, owner = context.texts, the_user(update).id
    mode = context.easel.catalogue.known(draft.mode)
    if mode is None:
        await context.reply(update, View(texts.html("job.gone")))
        return
    if draft.style is None:
        view, step = menus.styles(texts, owner, mode, context.person.preferences), "style"
    elif "strength" not in draft.values and strengths(mode):
        view, step = menus.strength(texts, owner, mode), "strength"
    elif not draft.words and update.callback_query and schema_of(mode, "prompt"):
        view, step = menus.words(texts, owner), "words"
    else:
        await _draw(update, context, draft, mode)
        return
    context.set_draft(draft.model_copy(update={"step": step}))
    await _show(update, context, view)


async def with_words(update: Update, context: Context, draft: Draft, text: str) -> None:
    """The optional words came as a message."""
    mode = context.easel.catalogue.known(draft.mode)
    if mode is None:
        await context.reply(update, View(context.texts.html("job.gone")))
        return
    options = parse(text, mode, draft.style)
    if not await checks.fit(update, context, mode, options):
        return
    style = options.values.pop("style", draft.style)
    values = draft.values | options.values
    changes = {"words": options.prompt, "style": style, "values": values}
    await _draw(update, context, draft.model_copy(update=changes), mode)


def with_photo(update: Update, context: Context) -> Draft | None:
    """The photo that this chat's menus are about: the person may be at another one elsewhere."""
    draft = context.person.draft
    at_hand = draft is not None and draft.photo and draft.chat_id == the_chat(update).id
    return draft if at_hand else None


async def on_strength(update: Update, context: Context, press: MenuPress) -> None:
    draft = with_photo(update, context)
    if draft is None:
        await toast(the_query(update), context.texts.plain("toast.photo_first"))
        return
    await toast(the_query(update))
    values = draft.values | {"strength": float(press.argument)}
    await go_on(update, context, draft.model_copy(update={"values": values}))


async def on_draw(update: Update, context: Context, _: MenuPress) -> None:
    """Draw it without words."""
    draft = with_photo(update, context)
    mode = context.easel.catalogue.known(draft.mode) if draft else None
    if draft is None or mode is None:
        await toast(the_query(update), context.texts.plain("toast.photo_first"))
        return
    if await checks.paused(update, context):
        return
    await toast(the_query(update), context.texts.plain("toast.on_it"))
    await _draw(update, context, draft, mode)


async def on_album(update: Update, context: Context, press: MenuPress) -> None:
    """One photo of an album was chosen."""
    group_id, _, number = press.argument.partition("/")
    album = context.easel.people.album(press.owner, group_id)
    if int(number) >= len(album):
        await toast(the_query(update), context.texts.plain("toast.old_button"))
        return
    await toast(the_query(update))
    words = next((caption for _, caption in album if caption), "")
    await begin(update, context, album[int(number)][0], words)


async def _draw(update: Update, context: Context, draft: Draft, mode: ModeInfo) -> None:
    if await checks.paused(update, context):
        return
    context.set_draft(None)
    style = style_of(mode, draft.style).name
    request, photo = draw_request(mode.name, style, draft.words, draft.values), draft.photo
    query, chat_id = update.callback_query, the_chat(update).id
    if query is not None and query.message is not None:
        place = Place(chat_id, query.message.message_id)
        origin = f"{place.message_id}:draw/{query.id}"
        context.draw(request, chat_id, origin, photo=photo, place=place)
        return
    message_id = the_message(update).message_id
    context.draw(request, chat_id, str(message_id), photo=photo, reply_to=message_id)


async def _show(update: Update, context: Context, view: View) -> None:
    query = update.callback_query
    menu = query.message if query else None
    if query is not None and isinstance(menu, Message) and menu.text:
        await context.change(query, view)
    else:
        await context.reply(update, view)


async def _mode(context: Context, draft: Draft | None) -> ModeInfo:
    drafted = context.easel.catalogue.known(draft.mode) if draft else None
    if drafted is not None and drafted.takes_image:
        return drafted
    return await context.easel.catalogue.for_photo()


# An album comes as one update per photo, the caption on one of them.


async def _collect(update: Update, context: Context, file_id: str, words: str) -> None:
    message, people = the_message(update), context.easel.people
    group_id = str(message.media_group_id)
    photo = photos.from_file(file_id)
    owner = the_user(update).id
    if people.add_to_album(owner, group_id, message.message_id, photo, words):
        context.in_background(update, _ask_which(update, context, group_id))


async def _ask_which(update: Update, context: Context, group_id: str) -> None:
    people, texts, owner = context.easel.people, context.texts, the_user(update).id
    known = 0
    while known < len(album := people.album(owner, group_id)):
        known = len(album)
        await asyncio.sleep(_ALBUM_PAUSE_S)
    if not album:  # the person had everything deleted meanwhile
        return
    if known == 1:  # in a group the bot sees only the photo whose caption mentions it
        await begin(update, context, *album[0])
        return
    buttons = [
        Button(str(i + 1), MenuPress(owner, "album", f"{group_id}/{i}"))
        for i in range(min(known, _MOST_ALBUM))
    ]
    keyboard = (*rows(buttons, 5), menus.cancel_row(texts, owner))
    await context.reply(update, View(texts.html("restyle.album", n=known), keyboard))


def _album_goes_on(update: Update, context: Context) -> bool:
    """In a group only one photo of an album has the caption that mentions the bot."""
    group_id, owner = the_message(update).media_group_id, the_user(update).id
    return group_id is not None and bool(context.easel.people.album(owner, group_id))


def handlers() -> list[CommandHandler[Context, None] | MessageHandler[Context, None]]:
    return [
        CommandHandler("restyle", on_command),
        MessageHandler(filters.PHOTO | filters.Document.ALL, on_photo),
    ]


MENUS = {"strength": on_strength, "draw": on_draw, "album": on_album}
