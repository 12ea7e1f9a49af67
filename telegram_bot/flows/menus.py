"""The menus that several flows show: the modes, the styles of a mode, its sizes. Pure."""

from collections.abc import Sequence

from backend.schemas import ModeInfo
from gpu_server.schemas import StyleInfo
from telegram_bot.catalogue import strengths, style_of
from telegram_bot.messages.callback_data import MenuPress, short
from telegram_bot.messages.view import Button, Keyboard, View, rows
from telegram_bot.storage.people import Preferences
from telegram_bot.texts import Language

_MOST_STYLES = 40


def home(say: Language, owner: int, modes: Sequence[ModeInfo], *, sketches: bool) -> View:
    """The first screen: one button per mode; `sketches`: pictures are no more than that now."""
    hello = say.html("start.hello_sketches" if sketches else "start.hello")
    return View(hello, home_keyboard(say, owner, modes))


def home_keyboard(say: Language, owner: int, modes: Sequence[ModeInfo]) -> Keyboard:
    choices = [
        Button(
            say.plain("button.mode_photo" if mode.takes_image else "button.mode_words")
            + say.of(mode.title),
            MenuPress(owner, "mode", short(mode.name)),
        )
        for mode in modes
    ]
    more = (
        Button(say.plain("button.settings"), MenuPress(owner, "settings")),
        Button(say.plain("button.help"), MenuPress(owner, "help")),
    )
    return (*rows(choices, 1), more)


def offered(mode: ModeInfo) -> list[StyleInfo]:
    """The styles that can be drawn now; all of them while none can."""
    return ([style for style in mode.styles if style.available] or mode.styles)[:_MOST_STYLES]


def styles(say: Language, owner: int, mode: ModeInfo, preferences: Preferences) -> View:
    """Which style? The last one is marked."""
    last = style_of(mode, preferences.styles.get(mode.name))
    used = mode.name in preferences.styles
    choices = []
    for style in offered(mode):
        mark = "✅ " if style.name == last.name else ""
        press = MenuPress(owner, "style", f"{short(mode.name)}/{short(style.name)}")
        choices.append(Button(mark + say.of(style.title), press))
    text = say.html("style.ask_again" if used else "style.ask", style=say.of(last.title))
    sizes = () if mode.takes_image else size_rows(owner, mode, last, preferences.size)
    return View(text, (*rows(choices, 2), *sizes, cancel_row(say, owner)))


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


def describe(say: Language, owner: int, mode: ModeInfo, preferences: Preferences) -> View:
    """A style is chosen: words are wanted."""
    style = style_of(mode, preferences.styles.get(mode.name))
    change = Button(say.plain("button.style"), MenuPress(owner, "mode", short(mode.name)))
    sizes = size_rows(owner, mode, style, preferences.size)
    text = say.html("free.describe", style=say.of(style.title))
    return View(text, (*sizes, (change, *cancel_row(say, owner))))


def strength(say: Language, owner: int, mode: ModeInfo) -> View:
    """How closely is the photo kept?"""
    choices = [
        Button(say.plain(f"button.strength_{name}"), MenuPress(owner, "strength", f"{value:g}"))
        for name, value in strengths(mode).items()
    ]
    return View(say.html("restyle.strength"), (tuple(choices), cancel_row(say, owner)))


def words(say: Language, owner: int) -> View:
    """Any words for a restyled photo?"""
    draw = Button(say.plain("button.draw"), MenuPress(owner, "draw"), "primary")
    return View(say.html("restyle.words"), ((draw,), cancel_row(say, owner)))


def cancel_row(say: Language, owner: int) -> tuple[Button, ...]:
    return (Button(say.plain("button.cancel"), MenuPress(owner, "close")),)
