"""Messages and people as the chat page and scripts see them."""

from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.model import Bot, Message, Person


def message_view(message: Message, bot: Bot, base: str = "") -> Json:
    """One message of `GET /chat/messages`; `base` begins the URLs of its photo and document."""
    content = message.content
    view: Json = {
        "message_id": message.message_id,
        "from": bot.api() if message.sender is None else message.sender.api(),
        "text": content.get("text"),
        "caption": content.get("caption"),
        "entities": content.get("entities") or content.get("caption_entities") or [],
        "buttons": _buttons(message),
        "edits": message.edits,
        "date": message.date,
        "edit_date": message.edit_date,
        "media_group_id": message.media_group_id,
        "reply_to": _reply(message),
        "reactions": [r.get("emoji", "") for r in message.reactions],
        "keyboard": _keyboard(message),
        "spoiler": bool(content.get("has_media_spoiler")),
        "caption_above": bool(content.get("show_caption_above_media")),
    }
    if photo := content.get("photo"):
        largest = photo[-1]
        view["photo"] = f"{base}{_path(largest)}"
        view |= {"width": largest["width"], "height": largest["height"]}
    if document := content.get("document"):
        view["document"] = f"{base}{_path(document)}"
        view |= {k: document.get(k) for k in ("file_name", "file_size", "mime_type")}
        if thumbnail := document.get("thumbnail"):
            view["thumbnail"] = f"{base}{_path(thumbnail)}"
    return view


def person_view(person: Person) -> Json:
    return {**person.api(), "blocked": person.blocked}


def _path(file: Json) -> str:
    return f"/chat/files/{file['file_id']}"


def _buttons(message: Message) -> list[list[Json]]:
    rows = (message.markup or {}).get("inline_keyboard", [])
    return [[_button(button) for button in row] for row in rows]


def _button(button: Json) -> Json:
    view = {"text": button["text"], "data": button.get("callback_data")}
    if "copy_text" in button:
        view["copy_text"] = button["copy_text"]["text"]
    return view | {k: button[k] for k in ("url", "style") if k in button}


def _keyboard(message: Message) -> Json | None:
    """A reply keyboard, its removal, or a wish for a reply."""
    markup = message.markup or {}
    return None if "inline_keyboard" in markup or not markup else markup


def _reply(message: Message) -> Json | None:
    if message.reply_to is None:
        return None
    text = message.reply_to.get("text") or message.reply_to.get("caption") or ""
    kind = "photo" if "photo" in message.reply_to else "document"
    media = kind if kind in message.reply_to else None
    sender = message.reply_to["from"]["first_name"]
    return {
        "message_id": message.reply_to["message_id"],
        "from": sender,
        "text": text[:200],
        "media": media,
    }
