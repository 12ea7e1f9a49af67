"""Read what a bot sends: text, caption, photo, document, album items, and reply markup."""

from typing import Any

from telegram_bot.local.bot_api.parameters import Params, Upload
from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import (
    MAX_CAPTION,
    MAX_TEXT,
    Formatted,
    Json,
    normalise,
    utf16_length,
)
from telegram_bot.local.formatting.html_markup import link, parse_html
from telegram_bot.local.state.files import FileStore

_MAX_SOURCE_BYTES = 1 << 15
_MAX_BUTTONS = 100
_MAX_PER_ROW = 8
_MAX_CALLBACK_BYTES = 64
_MAX_COPY_TEXT = 256
_BUTTON_STYLES = ("primary", "success", "danger")


def text_content(params: Params) -> Json:
    """Read the text of sendMessage and editMessageText. Raises BadRequest as Telegram does."""
    formatted = _formatted(params.values, "text", "entities")
    if not formatted.text:
        raise BadRequest("message text is empty")
    if utf16_length(formatted.text) > MAX_TEXT:
        raise BadRequest("message is too long")
    return formatted.content()


def caption_content(source: Json) -> Json:
    """Read the caption of a call or of an InputMedia."""
    formatted = _formatted(source, "caption", "caption_entities")
    if utf16_length(formatted.text) > MAX_CAPTION:
        raise BadRequest("message caption is too long")
    spoiler = source.get("has_media_spoiler") in (True, "true", "True", "1")
    return formatted.content("caption") | ({"has_media_spoiler": True} if spoiler else {})


async def media_content(kind: str, params: Params, files: FileStore) -> Json:
    """Read `kind` ("photo" or "document") from its parameter: an upload or a file id."""
    upload, value = params.uploads.get(kind), params.text(kind)
    if upload is None and not value:
        raise BadRequest(f"there is no {kind} in the request")
    return await _media(kind, upload, value, params, files)


async def input_media(value: object, params: Params, files: FileStore) -> Json:
    """Read an InputMedia of editMessageMedia or sendMediaGroup, with its caption."""
    if not isinstance(value, dict):
        raise BadRequest("can't parse InputMedia: expected an Object")
    kind = value.get("type")
    if kind not in ("photo", "document"):
        raise BadRequest(f'can\'t parse InputMedia: type "{kind}" is not supported here')
    media = str(value.get("media") or "")
    if not media:
        raise BadRequest("can't parse InputMedia: media not found")
    return await _media(kind, None, media, params, files) | caption_content(value)


async def _media(
    kind: str, upload: Upload | None, value: str, params: Params, files: FileStore
) -> Json:
    if value.startswith("attach://"):
        upload = params.uploads.get(value.removeprefix("attach://"))
        if upload is None:
            raise BadRequest(f"{kind} not found")
    if upload is not None and not upload.data:
        raise BadRequest("file must be non-empty")
    if upload is None and value.lower().startswith(("http://", "https://")):
        raise BadRequest("failed to get HTTP URL content")
    if upload is None:
        return {kind: files.media(kind, value)}
    if kind == "photo":
        return {kind: await files.add_photo(upload.data)}
    return {kind: await files.add_document(upload.data, upload.name)}


def _formatted(source: Json, name: str, entities: str) -> Formatted:
    text, parse_mode = (str(source.get(key) or "") for key in (name, "parse_mode"))
    if len(text.encode("utf-8", "replace")) > _MAX_SOURCE_BYTES:
        raise BadRequest("text is too long")
    if source.get(entities) not in (None, "", "[]", []):
        raise BadRequest(f"the local Telegram supports HTML only, not {entities}")
    match parse_mode.lower():
        case "html":
            return normalise(parse_html(text))
        case "" | "none":
            return normalise(Formatted(text))
    raise BadRequest(
        f'unsupported parse_mode "{parse_mode[:40]}": the local Telegram supports HTML only'
    )


def read_markup(params: Params) -> Json | None:
    """Return the validated `reply_markup`; None when left out or empty."""
    value = params.json("reply_markup", "reply keyboard markup")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadRequest("object expected as reply markup")
    if "inline_keyboard" in value:
        rows = _rows(value["inline_keyboard"], '"inline_keyboard" of the InlineKeyboardMarkup')
        buttons = [[_button(button) for button in row] for row in rows if row]
        if sum(map(len, buttons)) > _MAX_BUTTONS or any(len(r) > _MAX_PER_ROW for r in buttons):
            raise BadRequest("reply markup is too long")
        return {"inline_keyboard": buttons} if buttons else None
    if value.get("keyboard"):
        rows = _rows(value["keyboard"], '"keyboard"')
        keys = [[{"text": b} if isinstance(b, str) else b for b in row] for row in rows]
        return {**value, "keyboard": keys}
    return value if value.get("remove_keyboard") or value.get("force_reply") else None


def _rows(rows: Any, field: str) -> list[list[Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise BadRequest(f"field {field} must be an Array of Arrays")
    return rows


def _button(button: Any) -> Json:
    if not isinstance(button, dict):
        raise _unparsable("InlineKeyboardButton must be an Object")
    text = button.get("text")
    if not isinstance(text, str):
        raise _unparsable('Can\'t find field "text"')
    if not text.strip():
        raise BadRequest("BUTTON_TEXT_INVALID")
    if (style := button.get("style")) and style not in _BUTTON_STYLES:
        raise _unparsable("Invalid button style specified")
    return {"text": text, **_action(button), **({"style": style} if style else {})}


def _action(button: Json) -> Json:
    if "url" in button:
        url = link(str(button["url"]))
        if url is None:
            raise BadRequest(
                f"inline keyboard button URL '{button['url']}' is invalid: wrong HTTP URL"
            )
        return {"url": url}
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


def _unparsable(reason: str) -> BadRequest:
    return BadRequest(f"can't parse inline keyboard button: {reason}")
