"""Free generation: a plain text is a prompt, drawn in the person's last style."""

from telegram import Update
from telegram.ext import CommandHandler, MessageHandler, filters

from backend.schemas import ModeInfo
from telegram_bot.addressing import argument, text_for_bot
from telegram_bot.catalogue import schema_of, style_of
from telegram_bot.context import (
    Context,
    Declined,
    the_chat,
    the_message,
    the_query,
    the_user,
    toast,
)
from telegram_bot.flows import checks, menus, questions, restyle
from telegram_bot.generating.options import parse
from telegram_bot.generating.request import draw_request, sized
from telegram_bot.messages.callback_data import MenuPress, named
from telegram_bot.messages.view import View
from telegram_bot.storage.people import Draft


async def on_text(update: Update, context: Context) -> None:
    """Draw a text sent to the bot: with the draft's photo if it awaits a prompt, or by itself."""
    text = text_for_bot(the_message(update), context.bot)
    if text is None:
        return
    draft = context.person.draft
    if draft and draft.chat_id == the_chat(update).id and draft.step == "words" and draft.photo:
        await restyle.with_prompt(update, context, draft, text)
        return
    await prompt(update, context, text)


async def on_draw(update: Update, context: Context) -> None:
    """Handle /draw: draw the text after it, or ask for a prompt."""
    text = argument(the_message(update))
    if text:
        await prompt(update, context, text)
    else:
        await _ask_for_prompt(update, context, await context.easel.catalogue.choose())


async def prompt(update: Update, context: Context, text: str) -> None:
    """Draw a text, a prompt with options; ask for a prompt if it has only options."""
    person, message, chat = context.person, the_message(update), the_chat(update)
    draft = person.draft if person.draft and person.draft.chat_id == chat.id else None
    if draft and draft.step in ("style", "photo", "choice") and (draft.photo or draft.asked):
        draft = None  # it still needs an answer by a button; this text is a separate prompt
    mode = await _mode(context, draft)
    style = (draft and draft.style) or person.preferences.styles.get(mode.name)
    options = parse(text, mode, style)
    if not await checks.fit(update, context, mode, options):
        return
    if not options.prompt:
        await _ask_for_prompt(update, context, mode)
        return
    context.set_draft(None)
    chosen = style_of(mode, options.values.pop("style", style)).name
    values = {} if mode.takes_image else sized(mode, chosen, person.preferences.size)
    values |= (draft.values if draft else {}) | options.values
    request = draw_request(mode.name, chosen, options.prompt, values)
    if await checks.paused(update, context):
        return
    if not mode.takes_image and mode.name != person.preferences.mode:
        context.easel.people.prefer(person.user_id, mode=mode.name)
    open_draft = Draft(
        mode=mode.name,
        chat_id=chat.id,
        step="choice",
        style=chosen,
        words=options.prompt,
        photo=draft.photo if draft else None,
        values=values,
    )
    if questions.may_follow(mode):
        await restyle.proceed(update, context, open_draft)
        return
    photo, message_id = draft.photo if draft else None, message.message_id
    context.draw(request, chat.id, str(message_id), photo=photo, reply_to=message_id)


async def on_mode(update: Update, context: Context, press: MenuPress) -> None:
    """Start a draft in the chosen mode, then ask for a photo or a style."""
    query, texts, owner = the_query(update), context.texts, the_user(update).id
    mode = await _find_mode(context, press.argument)
    await toast(query)
    draft = Draft(mode=mode.name, chat_id=the_chat(update).id, step="prompt")
    if mode.takes_image:
        context.set_draft(draft.model_copy(update={"step": "style"}))
        view = View(texts.html("restyle.send_photo"), (menus.cancel_row(texts, owner),))
    else:
        context.set_draft(draft)
        view = menus.styles(texts, owner, mode, context.person.preferences)
    await context.change(query, view)


async def on_style(update: Update, context: Context, press: MenuPress) -> None:
    """Remember the chosen style, then continue with the draft's photo or ask for a prompt."""
    query, texts = the_query(update), context.texts
    mode_name, _, style_name = press.argument.partition("/")
    mode = await _find_mode(context, mode_name)
    style = named(style_name, [s.name for s in mode.styles])
    if style is None:
        raise Declined("toast.old_button")
    draft = restyle.draft_with_photo(update, context)
    if mode.takes_image and (draft is None or draft.mode != mode.name):
        raise Declined("toast.photo_first")
    await toast(query)
    styles = context.person.preferences.styles | {mode.name: style}
    preferences = context.easel.people.prefer(the_user(update).id, styles=styles)
    if mode.takes_image and draft:
        await restyle.proceed(update, context, draft.model_copy(update={"style": style}))
        return
    draft = Draft(mode=mode.name, chat_id=the_chat(update).id, step="prompt", style=style)
    if not schema_of(mode, "prompt"):
        await restyle.proceed(update, context, draft)
        return
    context.set_draft(draft.model_copy(update={"style": None}))
    await context.change(query, menus.describe(texts, the_user(update).id, mode, preferences))


async def on_size(update: Update, context: Context, press: MenuPress) -> None:
    """Remember the chosen aspect ratio and show it in the same menu."""
    query, texts, owner = the_query(update), context.texts, the_user(update).id
    mode_name, _, ratio = press.argument.partition("/")
    mode = await _find_mode(context, mode_name)
    await toast(query, ratio)
    preferences = context.easel.people.prefer(owner, size=ratio)
    has_style = mode.name in preferences.styles
    view = menus.describe if has_style else menus.styles
    await context.change(query, view(texts, owner, mode, preferences))


async def _find_mode(context: Context, shortened: str) -> ModeInfo:
    modes = {mode.name: mode for mode in await context.easel.catalogue.modes()}
    name = named(shortened, modes)
    if name is None:
        raise Declined("toast.old_button")
    return modes[name]


async def _mode(context: Context, draft: Draft | None) -> ModeInfo:
    catalogue = context.easel.catalogue
    mode = catalogue.known(draft.mode) if draft else None
    takes_words = mode is not None and schema_of(mode, "prompt")
    if mode is not None and draft and (draft.photo or not mode.takes_image) and takes_words:
        return mode
    return await catalogue.choose(context.person.preferences.mode)


async def _ask_for_prompt(update: Update, context: Context, mode: ModeInfo) -> None:
    context.set_draft(Draft(mode=mode.name, chat_id=the_chat(update).id, step="prompt"))
    owner, preferences = the_user(update).id, context.person.preferences
    await context.reply(update, menus.describe(context.texts, owner, mode, preferences))


def handlers() -> list[CommandHandler[Context, None] | MessageHandler[Context, None]]:
    return [
        CommandHandler("draw", on_draw),
        MessageHandler(filters.TEXT & ~filters.COMMAND, on_text),
    ]


MENUS = {"mode": on_mode, "style": on_style, "size": on_size}
