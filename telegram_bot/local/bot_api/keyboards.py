"""Reply markup: what Telegram accepts as an inline or a reply keyboard."""

from typing import Any

from telegram_bot.local.bot_api.parameters import Params
from telegram_bot.local.errors import BadRequestError
from telegram_bot.local.formatting.entities import Json, utf16_length
from telegram_bot.local.formatting.html_markup import link

MAX_BUTTONS = 100
MAX_PER_ROW = 8
MAX_CALLBACK_BYTES = 64
MAX_COPY_TEXT = 256
_STYLES = ("primary", "success", "danger")
_EXTRAS = ("style", "icon_custom_emoji_id")


def read_markup(params: Params) -> Json | None:
    """The validated `reply_markup`; None when left out or empty."""
    value = params.json("reply_markup", "reply keyboard markup")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadRequestError("object expected as reply markup")
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
        raise BadRequestError(
            'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays'
        )
    kept = [[_button(button) for button in row] for row in rows if row]
    if sum(map(len, kept)) > MAX_BUTTONS or any(len(row) > MAX_PER_ROW for row in kept):
        raise BadRequestError("reply markup is too long")
    return kept


def _reply_rows(rows: Any) -> list[list[Json]]:
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise BadRequestError('field "keyboard" must be an Array of Arrays')
    return [[{"text": b} if isinstance(b, str) else b for b in row] for row in rows]


def _button(button: Any) -> Json:
    if not isinstance(button, dict):
        raise _unparsed("InlineKeyboardButton must be an Object")
    text = button.get("text")
    if not isinstance(text, str):
        raise _unparsed('Can\'t find field "text"')
    if not text.strip():
        raise BadRequestError("BUTTON_TEXT_INVALID")
    if (style := button.get("style")) and style not in _STYLES:
        raise _unparsed("Invalid button style specified")
    extras = {k: button[k] for k in _EXTRAS if button.get(k)}
    return {"text": text, **_action(button), **extras}


def _action(button: Json) -> Json:
    if "url" in button:
        return {"url": _url(button["url"])}
    if "callback_data" in button:
        data = button["callback_data"]
        if not isinstance(data, str) or not 0 < len(data.encode()) <= MAX_CALLBACK_BYTES:
            raise BadRequestError("BUTTON_DATA_INVALID")
        return {"callback_data": data}
    if "copy_text" in button:
        copied = button["copy_text"]
        text = copied.get("text") if isinstance(copied, dict) else None
        if not isinstance(text, str):
            raise _unparsed('Can\'t find field "text"')
        if not 0 < utf16_length(text) <= MAX_COPY_TEXT:
            raise BadRequestError("BUTTON_COPY_TEXT_INVALID")
        return {"copy_text": {"text": text}}
    others = ("web_app", "login_url", "switch_inline_query", "switch_inline_query_current_chat")
    for name in others:
        if name in button:
            return {name: button[name]}
    raise _unparsed("Text buttons are unallowed in the inline keyboard")


def _url(url: Any) -> str:
    links = link({}, url) if isinstance(url, str) else []
    if not links:
        raise BadRequestError(f"inline keyboard button URL '{url}' is invalid: wrong HTTP URL")
    return str(links[0].get("url", url))


def _unparsed(reason: str) -> BadRequestError:
    return BadRequestError(f"can't parse inline keyboard button: {reason}")
