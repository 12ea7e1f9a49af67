"""Validate reply markup as Telegram does: inline and reply keyboards."""

from typing import Any

from telegram_bot.local.bot_api.parameters import Params
from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import Json, utf16_length
from telegram_bot.local.formatting.html_markup import link

_MAX_BUTTONS = 100
_MAX_PER_ROW = 8
_MAX_CALLBACK_BYTES = 64
_MAX_COPY_TEXT = 256
_STYLES = ("primary", "success", "danger")
_EXTRAS = ("style", "icon_custom_emoji_id")


def read_markup(params: Params) -> Json | None:
    """Return the validated `reply_markup`; None when left out or empty."""
    value = params.json("reply_markup", "reply keyboard markup")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadRequest("object expected as reply markup")
    if "inline_keyboard" in value:
        rows = _inline_rows(value["inline_keyboard"])
        return {"inline_keyboard": rows} if any(rows) else None
    if value.get("keyboard"):
        return {**value, "keyboard": _reply_rows(value["keyboard"])}
    if value.get("remove_keyboard") or value.get("force_reply"):
        return value
    return None


def _inline_rows(rows: Any) -> list[list[Json]]:
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise BadRequest(
            'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays'
        )
    kept = [[_button(button) for button in row] for row in rows if row]
    if sum(map(len, kept)) > _MAX_BUTTONS or any(len(row) > _MAX_PER_ROW for row in kept):
        raise BadRequest("reply markup is too long")
    return kept


def _reply_rows(rows: Any) -> list[list[Json]]:
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise BadRequest('field "keyboard" must be an Array of Arrays')
    return [[{"text": b} if isinstance(b, str) else b for b in row] for row in rows]


def _button(button: Any) -> Json:
    if not isinstance(button, dict):
        raise _unparsable("InlineKeyboardButton must be an Object")
    text = button.get("text")
    if not isinstance(text, str):
        raise _unparsable('Can\'t find field "text"')
    if not text.strip():
        raise BadRequest("BUTTON_TEXT_INVALID")
    if (style := button.get("style")) and style not in _STYLES:
        raise _unparsable("Invalid button style specified")
    extras = {k: button[k] for k in _EXTRAS if button.get(k)}
    return {"text": text, **_action(button), **extras}


def _action(button: Json) -> Json:
    if "url" in button:
        return {"url": _url(button["url"])}
    if "callback_data" in button:
        data = button["callback_data"]
        if not isinstance(data, str) or not 0 < len(data.encode()) <= _MAX_CALLBACK_BYTES:
            raise BadRequest("BUTTON_DATA_INVALID")
        return {"callback_data": data}
    if "copy_text" in button:
        copied = button["copy_text"]
        text = copied.get("text") if isinstance(copied, dict) else None
        if not isinstance(text, str):
            raise _unparsable('Can\'t find field "text"')
        if not 0 < utf16_length(text) <= _MAX_COPY_TEXT:
            raise BadRequest("BUTTON_COPY_TEXT_INVALID")
        return {"copy_text": {"text": text}}
    raise _unparsable("Text buttons are unallowed in the inline keyboard")


def _url(url: Any) -> str:
    links = link({}, url) if isinstance(url, str) else []
    if not links:
        raise BadRequest(f"inline keyboard button URL '{url}' is invalid: wrong HTTP URL")
    return str(links[0].get("url", url))


def _unparsable(reason: str) -> BadRequest:
    return BadRequest(f"can't parse inline keyboard button: {reason}")
