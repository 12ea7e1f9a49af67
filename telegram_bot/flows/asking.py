"""The answers by buttons to what a mode takes beside style and words."""

from telegram import Update

from backend.schemas import ModeInfo
from telegram_bot.catalogue import schema_of, switches
from telegram_bot.context import Context, Declined, the_chat, the_query, toast
from telegram_bot.flows import menus, restyle
from telegram_bot.messages.callback_data import MenuPress, named
from telegram_bot.storage.people import Draft


async def on_choice(update: Update, context: Context, press: MenuPress) -> None:
    draft, mode, name = _asked(update, context, press)
    _, _, shortened = press.argument.partition("/")
    value = named(shortened, (schema_of(mode, name) or {}).get("enum", ()))
    if value is None:
        raise Declined("toast.old_button")
    await toast(the_query(update))
    values = draft.values | {name: value}
    await restyle.proceed(update, context, draft.model_copy(update={"values": values}))


async def on_skip(update: Update, context: Context, press: MenuPress) -> None:
    """Go on without a photo that may be left out."""
    draft, mode, name = _asked(update, context, press)
    if name in mode.parameters.get("required", ()):
        raise Declined("toast.old_button")
    await toast(the_query(update))
    skipped = (*draft.skipped, name)
    await restyle.proceed(update, context, draft.model_copy(update={"skipped": skipped}))


async def on_toggle(update: Update, context: Context, press: MenuPress) -> None:
    """Turn a switch in the menu that asks whether to draw."""
    draft, mode, name = _asked(update, context, press)
    await toast(the_query(update))
    now = draft.values.get(name, switches(mode).get(name, False))
    draft = draft.model_copy(update={"values": draft.values | {name: not now}})
    context.set_draft(draft)
    await context.change(
        the_query(update), menus.ready(context.texts, press.owner, mode, draft.values)
    )


def _asked(update: Update, context: Context, press: MenuPress) -> tuple[Draft, ModeInfo, str]:
    """Return the draft, its mode, and the parameter that a button is about. Raises Declined."""
    draft = context.person.draft
    mode = context.easel.catalogue.known(draft.mode) if draft else None
    if draft is None or mode is None or draft.chat_id != the_chat(update).id:
        raise Declined("toast.old_button")
    name = named(press.argument.partition("/")[0], mode.parameters.get("properties", {}))
    if name is None:
        raise Declined("toast.old_button")
    return draft, mode, name


MENUS = {"choice": on_choice, "skip": on_skip, "toggle": on_toggle}
