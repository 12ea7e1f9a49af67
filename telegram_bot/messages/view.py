"""What a message shows: a value that can be compared, kept and sent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from telegram import CopyTextButton, InlineKeyboardButton, InlineKeyboardMarkup

from telegram_bot.messages.callback_data import JobPress, MenuPress
from telegram_bot.texts import Markup, utf16_length

_COPY_LIMIT = 256

Tone = Literal["primary", "success", "danger"]


@dataclass(frozen=True)
class Button:
    """A button: `press` is sent to the bot, or `copies` is put on the clipboard."""

    text: str
    press: JobPress | MenuPress | None = None
    tone: Tone | None = None
    copies: str | None = None


Keyboard = tuple[tuple[Button, ...], ...]


@dataclass(frozen=True)
class Media:
    """A picture: `content` is its bytes, or Telegram's file id."""

    kind: Literal["photo", "document"]
    content: bytes | str
    name: str = "picture.jpg"


@dataclass(frozen=True)
class View:
    """A message's content; `text` is the caption if there is media.

    `blank`: replace a photo the message shows so far, since this view has no picture.
    """

    text: Markup
    keyboard: Keyboard = ()
    media: Media | None = None
    blank: bool = False


def can_be_copied(text: str) -> bool:
    """Return whether a copy button may hold this text."""
    return 0 < utf16_length(text) <= _COPY_LIMIT


def rows(buttons: Sequence[Button], per_row: int) -> Keyboard:
    return tuple(tuple(buttons[i : i + per_row]) for i in range(0, len(buttons), per_row))


def pager(number: int, count: int, turn_to: Callable[[int], JobPress | MenuPress]) -> Keyboard:
    """Return a row to page through `count` items in a circle; no row for a single one."""
    if count < 2:
        return ()
    pages = (("◀️", number - 1), (f"{number + 1}/{count}", number), ("▶️", number + 1))
    return (tuple(Button(label, turn_to(to % count)) for label, to in pages),)


def markup(keyboard: Keyboard) -> InlineKeyboardMarkup | None:
    if not keyboard:
        return None
    return InlineKeyboardMarkup([[_button(button) for button in row] for row in keyboard])


def _button(button: Button) -> InlineKeyboardButton:
    if button.copies is not None:
        return InlineKeyboardButton(button.text, copy_text=CopyTextButton(button.copies))
    data = button.press.encode() if button.press else "-"
    return InlineKeyboardButton(button.text, callback_data=data, style=button.tone)
