"""Read the content a bot sends: text, caption, photo, document or album items."""

from telegram_bot.local.bot_api.parameters import Params, Upload
from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import (
    MAX_CAPTION,
    MAX_TEXT,
    Formatted,
    Json,
    from_api,
    normalise,
    utf16_length,
)
from telegram_bot.local.formatting.html_markup import parse_html
from telegram_bot.local.state.files import FileStore

_MAX_SOURCE_BYTES = 1 << 15
_FLAGS = ("has_media_spoiler", "show_caption_above_media")


def text_content(params: Params) -> Json:
    """Read the text of sendMessage and editMessageText; raise `BadRequest` as Telegram does."""
    entities = params.array("entities", "entities", "MessageEntity")
    formatted = _format(params.text("text"), params.text("parse_mode"), entities)
    if not formatted.text:
        raise BadRequest("message text is empty")
    if utf16_length(formatted.text) > MAX_TEXT:
        raise BadRequest("message is too long")
    content = formatted.content()
    if options := params.json("link_preview_options", "link preview options"):
        content["link_preview_options"] = options
    return content


def caption_content(params: Params) -> Json:
    """Read the caption among a call's own parameters."""
    entities = params.array("caption_entities", "entities", "MessageEntity")
    return _caption({**params.values, "caption_entities": entities})


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
    return await _media(kind, None, media, params, files) | _caption(value)


def _caption(source: Json) -> Json:
    text, parse_mode = (str(source.get(name) or "") for name in ("caption", "parse_mode"))
    formatted = _format(text, parse_mode, source.get("caption_entities"))
    if utf16_length(formatted.text) > MAX_CAPTION:
        raise BadRequest("message caption is too long")
    flags = {k: True for k in _FLAGS if source.get(k) in (True, "true", "True", "1")}
    return formatted.content("caption") | flags


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
    if kind == "photo":
        sizes = files.photo(value) if upload is None else await files.add_photo(upload.data)
        return {"photo": sizes}
    if upload is None:
        return {"document": files.document(value)}
    return {"document": await files.add_document(upload.data, upload.name)}


def _format(text: str, parse_mode: str, entities: object) -> Formatted:
    if len(text.encode("utf-8", "replace")) > _MAX_SOURCE_BYTES:
        raise BadRequest("text is too long")
    match parse_mode.lower():
        case "html":
            return normalise(parse_html(text))
        case "" | "none":
            known = entities if isinstance(entities, list) else []
            return normalise(from_api(text, [e for e in known if isinstance(e, dict)]))
    raise BadRequest(
        f'unsupported parse_mode "{parse_mode[:40]}": the local Telegram supports HTML only'
    )
