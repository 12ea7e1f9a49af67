"""Build the menus that flows share: modes, styles, sizes, strengths. Pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any

from backend.schemas import ModeInfo
from gpu_server.schemas import StyleInfo
from telegram_bot.catalogue import schema_of, strengths, style_of, switches
from telegram_bot.messages.callback_data import MenuPress, short
from telegram_bot.messages.view import Button, Keyboard, View, rows
from telegram_bot.storage.people import Preferences
from telegram_bot.texts import Texts

_MAX_STYLES = 40


def home(texts: Texts, owner: int, modes: Sequence[ModeInfo]) -> Keyboard:
    """Build the buttons of the first screen, one per mode."""
    choices = [
        Button(
            texts.plain("button.mode_photo" if mode.takes_image else "button.mode_words")
            + texts.of(mode.title),
            MenuPress(owner, "mode", short(mode.name)),
        )
        for mode in modes
    ]
    others = (
        Button(texts.plain("button.settings"), MenuPress(owner, "settings")),
        Button(texts.plain("button.help"), MenuPress(owner, "help")),
    )
    return (*rows(choices, 1), others)


def offered(mode: ModeInfo) -> list[StyleInfo]:
    """Return the styles that can be drawn now, or all of them if none can."""
    return ([style for style in mode.styles if style.available] or mode.styles)[:_MAX_STYLES]


def styles(texts: Texts, owner: int, mode: ModeInfo, preferences: Preferences) -> View:
    """Ask for a style; the last one used, or else the default, is ticked."""
    current = style_of(mode, preferences.styles.get(mode.name))
    choices = []
    for style in offered(mode):
        tick = "✅ " if style.name == current.name else ""
        press = MenuPress(owner, "style", f"{short(mode.name)}/{short(style.name)}")
        choices.append(Button(tick + texts.of(style.title), press))
    key = "style.ask_again" if mode.name in preferences.styles else "style.ask"
    text = texts.html(key, style=texts.of(current.title))
    sizes = () if mode.takes_image else size_rows(owner, mode, current, preferences.size)
    return View(text, (*rows(choices, 2), *sizes, cancel_row(texts, owner)))


def size_rows(owner: int, mode: ModeInfo, style: StyleInfo, chosen: str | None) -> Keyboard:
    """Offer the style's aspect ratios, the chosen one ticked; nothing if there is only one."""
    current = chosen if chosen in style.sizes else next(iter(style.sizes), None)
    buttons = []
    for ratio, (width, height) in style.sizes.items():
        shape = "◻️" if width == height else "▭" if width > height else "▯"
        symbol = "✅" if ratio == current else shape
        press = MenuPress(owner, "size", f"{short(mode.name)}/{ratio}")
        buttons.append(Button(f"{symbol} {ratio}", press))
    return rows(buttons, 3) if len(buttons) > 1 else ()


def describe(texts: Texts, owner: int, mode: ModeInfo, preferences: Preferences) -> View:
    """Ask for a prompt in the current style."""
    style = style_of(mode, preferences.styles.get(mode.name))
    change = Button(texts.plain("button.style"), MenuPress(owner, "mode", short(mode.name)))
    sizes = size_rows(owner, mode, style, preferences.size)
    text = texts.html("free.describe", style=texts.of(style.title))
    return View(text, (*sizes, (change, *cancel_row(texts, owner))))


def strength(texts: Texts, owner: int, mode: ModeInfo) -> View:
    """Ask how closely the image should follow the photo."""
    choices = [
        Button(texts.plain(f"button.strength_{name}"), MenuPress(owner, "strength", f"{value:g}"))
        for name, value in strengths(mode).items()
    ]
    return View(texts.html("restyle.strength"), (tuple(choices), cancel_row(texts, owner)))


def further_photo(texts: Texts, owner: int, mode: ModeInfo, name: str) -> View:
    """Ask for another photo; one that may be left out can be skipped."""
    text = texts.html("restyle.further", what=_title(texts, mode, name))
    if description := (mode.texts.get(name) or {}).get("description"):
        text = texts.html("restyle.further_about", text=text, about=texts.of(description))
    skip = Button(texts.plain("button.skip"), MenuPress(owner, "skip", short(name)))
    needed = name in mode.parameters.get("required", ())
    return View(text, (((skip,),) if not needed else ()) + (cancel_row(texts, owner),))


def choice(texts: Texts, owner: int, mode: ModeInfo, name: str) -> View:
    """Ask for one of the values that a parameter takes; the default is ticked."""
    schema, titles = schema_of(mode, name) or {}, (mode.texts.get(name) or {}).get("choices") or {}
    buttons = [
        Button(
            ("✅ " if value == schema.get("default") else "")
            + (texts.of(titles[value]) if value in titles else value),
            MenuPress(owner, "choice", f"{short(name)}/{short(value)}"),
        )
        for value in schema.get("enum", ())[:_MAX_STYLES]
    ]
    text = texts.html("restyle.choice", what=_title(texts, mode, name))
    return View(text, (*rows(buttons, 2), cancel_row(texts, owner)))


def ready(texts: Texts, owner: int, mode: ModeInfo, values: Mapping[str, Any]) -> View:
    """Ask whether to draw, with switches to turn, and for words if the mode takes any."""
    buttons = [
        Button(
            ("✅ " if values.get(name, default) else "◻️ ") + _title(texts, mode, name),
            MenuPress(owner, "toggle", short(name)),
        )
        for name, default in switches(mode).items()
    ]
    key = "restyle.words" if schema_of(mode, "prompt") else "restyle.ready"
    draw = Button(texts.plain("button.draw"), MenuPress(owner, "draw"), "primary")
    return View(texts.html(key), (*rows(buttons, 2), (draw,), cancel_row(texts, owner)))


def _title(texts: Texts, mode: ModeInfo, name: str) -> str:
    title = (mode.texts.get(name) or {}).get("title")
    return texts.of(title) if title else name


def cancel_row(texts: Texts, owner: int) -> tuple[Button, ...]:
    return (Button(texts.plain("button.cancel"), MenuPress(owner, "close")),)
