"""The view of messages and people that the chat page and scripts get."""

from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.model import Bot, Message, Person


def message_view(message: Message, bot: Bot, base: str = "") -> Json:
    """Return a message as `GET /chat/messages` shows it; `base` starts the URLs of its files."""
    content = message.content
    view: Json = {
        "message_id": message.message_id,
        "from": bot.api() if message.sender is None else message.sender.api(),
        "text": content.get("text"),
        "caption": content.get("caption"),
        "entities": content.get("entities") or content.get("caption_entities") or [],
        "buttons": [[_button(button) for button in row] for row in message.buttons],
        "edits": message.edits,
        "date": message.date,
        "edit_date": message.edit_date,
        "media_group_id": message.media_group_id,
        "reply_to": _reply(message.reply_to) if message.reply_to else None,
        "reactions": [r.get("emoji", "") for r in message.reactions],
        "keyboard": None if message.buttons else message.markup,
        "spoiler": bool(content.get("has_media_spoiler")),
    }
    files = f"{base}/chat/files"
    if photo := content.get("photo"):
        largest = photo[-1]
        view["photo"] = f"{files}/{largest['file_id']}"
        view |= {"width": largest["width"], "height": largest["height"]}
    if document := content.get("document"):
        view["document"] = f"{files}/{document['file_id']}"
        view |= {k: document.get(k) for k in ("file_name", "file_size", "mime_type")}
        if thumbnail := document.get("thumbnail"):
            view["thumbnail"] = f"{files}/{thumbnail['file_id']}"
    return view


def person_view(person: Person) -> Json:
    return {**person.api(), "blocked": person.blocked}


def _button(button: Json) -> Json:
    view = {"text": button["text"], "data": button.get("callback_data")}
    if "copy_text" in button:
        view["copy_text"] = button["copy_text"]["text"]
    return view | {k: button[k] for k in ("url", "style") if k in button}


def _reply(message: Json) -> Json:
    text = message.get("text") or message.get("caption") or ""
    return {
        "message_id": message["message_id"],
        "from": message["from"]["first_name"],
        "text": text[:200],
        "media": next((kind for kind in ("photo", "document") if kind in message), None),
    }
