"""The menus that several flows show: the modes, the styles of a mode, its sizes. Pure."""

from collections.abc import Sequence

from backend.schemas import ModeInfo
from gpu_server.schemas import StyleInfo
from telegram_bot.catalogue import strengths, style_of
from telegram_bot.messages.callback_data import MenuPress, short
from telegram_bot.messages.view import Button, Keyboard, View, rows
from telegram_bot.storage.people import Preferences
from telegram_bot.texts import Texts

_MOST_STYLES = 40


def home(texts: Texts, owner: int, modes: Sequence[ModeInfo], *, sketches: bool) -> View:
    """The first screen: one button per mode; `sketches`: pictures are no more than that now."""
    hello = texts.html("start.hello_sketches" if sketches else "start.hello")
    return View(hello, home_keyboard(texts, owner, modes))


def home_keyboard(texts: Texts, owner: int, modes: Sequence[ModeInfo]) -> Keyboard:
    choices = [
        Button(
            texts.plain("button.mode_photo" if mode.takes_image else "button.mode_words")
            + texts.of(mode.title),
            MenuPress(owner, "mode", short(mode.name)),
        )
        for mode in modes
    ]
    more = (
        Button(texts.plain("button.settings"), MenuPress(owner, "settings")),
        Button(texts.plain("button.help"), MenuPress(owner, "help")),
    )
    return (*rows(choices, 1), more)


def offered(mode: ModeInfo) -> list[StyleInfo]:
    """The styles that can be drawn now; all of them while none can."""
    return ([style for style in mode.styles if style.available] or mode.styles)[:_MOST_STYLES]


def styles(texts: Texts, owner: int, mode: ModeInfo, preferences: Preferences) -> View:
    """Which style? The last one is marked."""
    last = style_of(mode, preferences.styles.get(mode.name))
    used = mode.name in preferences.styles
    choices = []
    for style in offered(mode):
        mark = "✅ " if style.name == last.name else ""
        press = MenuPress(owner, "style", f"{short(mode.name)}/{short(style.name)}")
        choices.append(Button(mark + texts.of(style.title), press))
    text = texts.html("style.ask_again" if used else "style.ask", style=texts.of(last.title))
    sizes = () if mode.takes_image else size_rows(owner, mode, last, preferences.size)
    return View(text, (*rows(choices, 2), *sizes, cancel_row(texts, owner)))


def size_rows(owner: int, mode: ModeInfo, style: StyleInfo, chosen: str | None) -> Keyboard:
    """The style's aspect ratios, the chosen one marked."""
    current = chosen if chosen in style.sizes else next(iter(style.sizes), None)
    buttons = []
    for ratio, (width, height) in style.sizes.items():
        shape = "◻️" if width == height else "▭" if width > height else "▯"
        mark = "✅" if ratio == current else shape
        press = MenuPress(owner, "size", f"{short(mode.name)}/{ratio}")
        buttons.append(Button(f"{mark} {ratio}", press))
    return rows(buttons, 3) if len(buttons) > 1 else ()


def describe(texts: Texts, owner: int, mode: ModeInfo, preferences: Preferences) -> View:
    """A style is chosen: words are wanted."""
    style = style_of(mode, preferences.styles.get(mode.name))
    change = Button(texts.plain("button.style"), MenuPress(owner, "mode", short(mode.name)))
    sizes = size_rows(owner, mode, style, preferences.size)
    text = texts.html("free.describe", style=texts.of(style.title))
    return View(text, (*sizes, (change, *cancel_row(texts, owner))))


def strength(texts: Texts, owner: int, mode: ModeInfo) -> View:
    """How closely is the photo kept?"""
    choices = [
        Button(texts.plain(f"button.strength_{name}"), MenuPress(owner, "strength", f"{value:g}"))
        for name, value in strengths(mode).items()
    ]
    return View(texts.html("restyle.strength"), (tuple(choices), cancel_row(texts, owner)))


def words(texts: Texts, owner: int) -> View:
    """Any words for a restyled photo?"""
    draw = Button(texts.plain("button.draw"), MenuPress(owner, "draw"), "primary")
    return View(texts.html("restyle.words"), ((draw,), cancel_row(texts, owner)))


def cancel_row(texts: Texts, owner: int) -> tuple[Button, ...]:
    return (Button(texts.plain("button.cancel"), MenuPress(owner, "close")),)
