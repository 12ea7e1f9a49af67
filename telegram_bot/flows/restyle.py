"""Restyle a photo or an image file: ask for style, strength and an optional prompt."""

import asyncio

from telegram import Chat, Message, Update
from telegram.ext import CommandHandler, MessageHandler, filters

from backend.schemas import ModeInfo
from telegram_bot.addressing import argument, caption_for_bot
from telegram_bot.catalogue import schema_of, strengths, style_of, switches
from telegram_bot.context import (
    Context,
    Declined,
    the_chat,
    the_message,
    the_query,
    the_user,
    toast,
)
from telegram_bot.flows import checks, menus, questions
from telegram_bot.generating import photos
from telegram_bot.generating.options import parse
from telegram_bot.generating.request import draw_request
from telegram_bot.messages.callback_data import MenuPress
from telegram_bot.messages.editor import Place
from telegram_bot.messages.view import Button, View, rows
from telegram_bot.storage.people import Draft

_ALBUM_PAUSE_S = 1.0
"""How long to wait for another photo before an album counts as complete."""
_MAX_ALBUM = 10


async def on_photo(update: Update, context: Context) -> None:
    """Begin with a photo, or with an image sent as a file."""
    message = the_message(update)
    text = caption_for_bot(message, context.bot)
    if text is None and not _belongs_to_album(update, context):
        if message.chat.type == Chat.PRIVATE:  # a command that does not go with a photo
            await context.reply(update, View(context.texts.html("start.unknown")))
        return
    file_id = await _photo_in(update, context, message)
    if file_id is None:
        return
    draft = context.person.draft
    if draft and draft.chat_id == message.chat.id and draft.step == "photo":
        sources = photos.unpacked(draft.photo) | {draft.asked: photos.from_file(file_id)}
        draft = draft.model_copy(update={"photo": photos.packed(sources)})
        await proceed(update, context, draft)
        return
    if message.media_group_id:
        await _collect(update, context, file_id, text or "")
        return
    await begin(update, context, photos.from_file(file_id), text or "")


async def on_command(update: Update, context: Context) -> None:
    """Handle /restyle: begin with the photo it replies to, or ask for one."""
    replied = the_message(update).reply_to_message
    if replied and photos.sent_file(replied):
        if file_id := await _photo_in(update, context, replied):
            text = argument(the_message(update))
            await begin(update, context, photos.from_file(file_id), text)
        return
    mode = await context.easel.catalogue.choose(takes_image=True)
    context.set_draft(Draft(mode=mode.name, chat_id=the_chat(update).id, step="style"))
    keyboard = (menus.cancel_row(context.texts, the_user(update).id),)
    await context.reply(update, View(context.texts.html("restyle.send_photo"), keyboard))


async def _photo_in(update: Update, context: Context, message: Message) -> str | None:
    """Return the file id of a message's photo; if it cannot be used, say why."""
    sent = photos.sent_file(message)
    key = "restyle.not_a_photo"
    if sent is not None:
        file_id, size = sent
        if size > photos.MAX_BYTES:
            key = "error.too_large"
        elif message.photo or await photos.is_image_file(context.bot, file_id):
            return file_id
    await context.reply(update, View(context.texts.html(key)))
    return None


async def begin(update: Update, context: Context, photo: str, text: str) -> None:
    """Start a draft with this photo; ask for what `text`, a prompt with options, leaves open."""
    person = context.person
    mode = await _mode(context, person.draft)
    options = parse(text, mode, person.preferences.styles.get(mode.name))
    if not await checks.fit(update, context, mode, options):
        return
    draft = Draft(
        mode=mode.name,
        chat_id=the_chat(update).id,
        step="style",
        style=options.values.pop("style", None),
        words=options.prompt,
        photo=photo,
        values=options.values,
    )
    await proceed(update, context, draft)


async def proceed(update: Update, context: Context, draft: Draft) -> None:
    """Ask for the next thing that the draft lacks, or draw it."""
    texts, owner = context.texts, the_user(update).id
    mode = context.easel.catalogue.known(draft.mode)
    if mode is None:
        await context.reply(update, View(texts.html("job.gone")))
        return
    if draft.style is None and len(menus.offered(mode)) > 1:
        view, step = menus.styles(texts, owner, mode, context.person.preferences), "style"
    elif "strength" not in draft.values and strengths(mode):
        view, step = menus.strength(texts, owner, mode), "strength"
    elif question := questions.following(texts, owner, mode, draft):
        view, draft = question
        step = draft.step
    elif _asks_at_last(update, mode, draft):
        view, step = menus.ready(texts, owner, mode, draft.values), "words"
    else:
        await _draw(update, context, draft, mode)
        return
    context.set_draft(draft.model_copy(update={"step": step}))
    await _show(update, context, view)


def _asks_at_last(update: Update, mode: ModeInfo, draft: Draft) -> bool:
    """Whether words or switches are open that nobody was asked for."""
    takes_words = not draft.words and update.callback_query and schema_of(mode, "prompt")
    return bool(takes_words) or not switches(mode).keys() <= draft.values.keys()


async def with_prompt(update: Update, context: Context, draft: Draft, text: str) -> None:
    """Draw the draft with `text`, its optional prompt with options."""
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


def draft_with_photo(update: Update, context: Context) -> Draft | None:
    """Return the person's draft if it has its photo, and belongs to this chat."""
    draft = context.person.draft
    if draft is None or draft.chat_id != the_chat(update).id:
        return None
    mode = context.easel.catalogue.known(draft.mode)
    return draft if draft.photo or (mode and not mode.takes_image) else None


async def on_strength(update: Update, context: Context, press: MenuPress) -> None:
    draft = draft_with_photo(update, context)
    if draft is None:
        raise Declined("toast.photo_first")
    await toast(the_query(update))
    values = draft.values | {"strength": float(press.argument)}
    await proceed(update, context, draft.model_copy(update={"values": values}))


async def on_draw(update: Update, context: Context, press: MenuPress) -> None:
    """Draw without a prompt."""
    draft = draft_with_photo(update, context)
    mode = context.easel.catalogue.known(draft.mode) if draft else None
    if draft is None or mode is None:
        raise Declined("toast.photo_first")
    if questions.following(context.texts, press.owner, mode, draft):  # an old button
        raise Declined("toast.old_button")
    if await checks.paused(update, context):
        return
    await toast(the_query(update), context.texts.plain("toast.on_it"))
    await _draw(update, context, draft, mode)


async def on_album(update: Update, context: Context, press: MenuPress) -> None:
    """Begin with the chosen photo of an album, and the first caption in it."""
    group_id, _, number = press.argument.partition("/")
    album = context.easel.people.album(press.owner, group_id)
    if int(number) >= len(album):
        raise Declined("toast.old_button")
    await toast(the_query(update))
    text = next((caption for _, caption in album if caption), "")
    await begin(update, context, album[int(number)][0], text)


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
    mode = context.easel.catalogue.known(draft.mode) if draft else None
    if mode is not None and mode.takes_image:
        return mode
    return await context.easel.catalogue.choose(takes_image=True)


async def _collect(update: Update, context: Context, file_id: str, caption: str) -> None:
    """Collect an album, which arrives as one update per photo; ask once which one to use."""
    message, owner, people = the_message(update), the_user(update).id, context.easel.people
    group_id, photo = str(message.media_group_id), photos.from_file(file_id)
    if people.add_to_album(owner, group_id, message.message_id, photo, caption):
        context.in_background(update, _ask_which(update, context, group_id))


async def _ask_which(update: Update, context: Context, group_id: str) -> None:
    people, texts, owner = context.easel.people, context.texts, the_user(update).id
    count = 0
    while count < len(album := people.album(owner, group_id)):
        count = len(album)
        await asyncio.sleep(_ALBUM_PAUSE_S)
    if not album:  # the person deleted their data in the meantime
        return
    if count == 1:  # in a group the bot sees only the photo whose caption mentions it
        await begin(update, context, *album[0])
        return
    buttons = [
        Button(str(i + 1), MenuPress(owner, "album", f"{group_id}/{i}"))
        for i in range(min(count, _MAX_ALBUM))
    ]
    keyboard = (*rows(buttons, 5), menus.cancel_row(texts, owner))
    await context.reply(update, View(texts.html("restyle.album", n=count), keyboard))


def _belongs_to_album(update: Update, context: Context) -> bool:
    """Return whether the photo is from a known album; not every photo mentions the bot."""
    group_id, owner = the_message(update).media_group_id, the_user(update).id
    return group_id is not None and bool(context.easel.people.album(owner, group_id))


def handlers() -> list[CommandHandler[Context, None] | MessageHandler[Context, None]]:
    return [
        CommandHandler("restyle", on_command),
        MessageHandler(filters.PHOTO | filters.Document.ALL, on_photo),
    ]


MENUS = {"strength": on_strength, "draw": on_draw, "album": on_album}
