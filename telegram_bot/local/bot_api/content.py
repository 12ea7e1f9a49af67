"""Reads what a bot wants to show: text, caption, photo, document or album items."""

from collections.abc import Callable

from telegram_bot.local.bot_api.parameters import Params, Upload
from telegram_bot.local.errors import BadRequestError
from telegram_bot.local.formatting.entities import Formatted, Json, finished, from_api, utf16_length
from telegram_bot.local.formatting.html_markup import parse_html
from telegram_bot.local.formatting.markdown_v2 import parse_markdown_v2
from telegram_bot.local.state.files import FileStore

MAX_TEXT = 4096
MAX_CAPTION = 1024
_PARSERS: dict[str, Callable[[str], Formatted]] = {
    "html": parse_html,
    "markdownv2": parse_markdown_v2,
}
_FLAGS = ("has_media_spoiler", "show_caption_above_media")


def text_content(params: Params) -> Json:
    """The text of sendMessage and editMessageText; raises `BadRequestError` as Telegram does."""
    entities = params.array("entities", "entities", "MessageEntity")
    formatted = _formatted(params.text("text"), params.text("parse_mode"), entities)
    if not formatted.text:
        raise BadRequestError("message text is empty")
    if utf16_length(formatted.text) > MAX_TEXT:
        raise BadRequestError("message is too long")
    content: Json = {"text": formatted.text}
    if formatted.entities:
        content["entities"] = formatted.entities
    if options := params.json("link_preview_options", "link preview options"):
        content["link_preview_options"] = options
    return content


def caption_content(source: Json) -> Json:
    """The caption of a call or of an InputMedia."""
    entities = source.get("caption_entities")
    text = str(source.get("caption") or "")
    formatted = _formatted(text, str(source.get("parse_mode") or ""), entities)
    if utf16_length(formatted.text) > MAX_CAPTION:
        raise BadRequestError("message caption is too long")
    content: Json = {}
    if formatted.text:
        content["caption"] = formatted.text
    if formatted.entities:
        content["caption_entities"] = formatted.entities
    return content | {k: True for k in _FLAGS if source.get(k) in (True, "true", "True", "1")}


def caption_source(params: Params) -> Json:
    """A call's own parameters, as `caption_content` takes them."""
    entities = params.array("caption_entities", "entities", "MessageEntity")
    return {**params.values, "caption_entities": entities}


async def media_content(kind: str, name: str, params: Params, files: FileStore) -> Json:
    """`kind` "photo" or "document" from the parameter of that name: an upload or a file id."""
    upload = params.uploads.get(name)
    value = params.text(name)
    if upload is None and not value:
        raise BadRequestError(f"there is no {kind} in the request")
    return await _media(kind, upload, value, params, files)


async def input_media(value: object, params: Params, files: FileStore) -> Json:
    """An InputMedia of editMessageMedia or sendMediaGroup."""
    if not isinstance(value, dict):
        raise BadRequestError("can't parse InputMedia: expected an Object")
    kind = value.get("type")
    if kind not in ("photo", "document"):
        raise BadRequestError(f'can\'t parse InputMedia: type "{kind}" is not known here')
    media = str(value.get("media") or "")
    if not media:
        raise BadRequestError("can't parse InputMedia: media not found")
    content = await _media(kind, None, media, params, files)
    return content | caption_content(value)


async def _media(
    kind: str, upload: Upload | None, value: str, params: Params, files: FileStore
) -> Json:
    if value.startswith("attach://"):
        upload = params.uploads.get(value.removeprefix("attach://"))
        if upload is None:
            raise BadRequestError(f"{kind} not found")
    if upload is not None and not upload.data:
        raise BadRequestError("file must be non-empty")
    if upload is None and value.lower().startswith(("http://", "https://")):
        raise BadRequestError("failed to get HTTP URL content")
    if kind == "photo":
        sizes = files.photo(value) if upload is None else await files.add_photo(upload.data)
        return {"photo": sizes}
    if upload is None:
        return {"document": files.document(value)}
    return {"document": await files.add_document(upload.data, upload.name)}


def _formatted(text: str, parse_mode: str, entities: object) -> Formatted:
    if len(text.encode("utf-8", "replace")) > 1 << 15:
        raise BadRequestError("text is too long")
    if parse_mode and parse_mode.lower() != "none":
        parser = _PARSERS.get(parse_mode.lower())
        if parser is None:
            raise BadRequestError("unsupported parse_mode")
        return finished(parser(text))
    given = [e for e in entities if isinstance(e, dict)] if isinstance(entities, list) else []
    return finished(from_api(text, given))
