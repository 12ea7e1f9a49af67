"""What people do: send messages and press buttons."""

import asyncio
import base64
import secrets
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from telegram_bot.local.bot_api.content import MAX_CAPTION, MAX_TEXT
from telegram_bot.local.errors import ApiError
from telegram_bot.local.formatting.entities import Formatted, Json, finished, utf16_length
from telegram_bot.local.state.model import Chat, Message
from telegram_bot.local.state.world import World

_ANSWER_DEADLINE_S = 15.0


def _unicode(text: str) -> str:
    text.encode()  # a ValueError for lone surrogates, which JSON can carry
    return text


Text = Annotated[str, AfterValidator(_unicode)]


class Body(BaseModel):
    """A JSON body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Send(Body):
    """One message of a person: text, or photo(s), or a document; files in base64 or data URLs."""

    user_id: int
    chat_id: int | None = None
    text: Text | None = None
    photo: str | None = None
    photos: list[str] | None = Field(None, min_length=1, max_length=10)
    document: str | None = None
    file_name: Text = "file"
    caption: Text = Field("", max_length=4096)
    reply_to: int | None = None


class PressButton(Body):
    """`button`: its text or its callback data."""

    user_id: int
    chat_id: int | None = None
    message_id: int
    button: Text


async def send(world: World, body: Send) -> Json:
    person = world.person(body.user_id)
    chat = world.chat_of(person, body.chat_id)
    if person.blocked and chat.is_private:
        raise ApiError(409, "this user has blocked the bot; unblock it first (POST /chat/people)")
    replied = _replied(chat, body.reply_to)
    contents = await _contents(world, body)
    group = str(secrets.randbits(53)) if body.photos and len(contents) > 1 else None
    sent = [
        world.post(chat, person, content, reply_to=replied, media_group_id=group)
        for content in contents
    ]
    return {"message_id": sent[-1].message_id, "message_ids": [m.message_id for m in sent]}


def _replied(chat: Chat, message_id: int | None) -> Message | None:
    if message_id is None:
        return None
    if message_id not in chat.messages:
        raise ApiError(404, f"there is no message {message_id} in this chat to reply to")
    return chat.messages[message_id]


async def _contents(world: World, body: Send) -> list[Json]:
    given = [body.text, body.photo, body.photos, body.document]
    if sum(value is not None for value in given) != 1:
        raise ApiError(422, "give exactly one of text, photo, photos and document")
    if body.text is not None:
        return _texts(body.text)
    caption = finished(Formatted(body.caption))
    if utf16_length(caption.text) > MAX_CAPTION:
        raise ApiError(422, f"a caption has at most {MAX_CAPTION} characters")
    first: Json = {"caption": caption.text} if caption.text else {}
    if caption.entities:
        first["caption_entities"] = caption.entities
    if body.document is not None:
        stored = await world.files.add_document(_bytes(body.document, "document"), body.file_name)
        return [{"document": stored} | first]
    photos = body.photos if body.photos is not None else [body.photo or ""]
    media: list[Json] = []
    for photo in photos:
        sizes = await world.files.add_photo(_bytes(photo, "photo"), from_bot=False)
        media.append({"photo": sizes})
    media[0] |= first
    return media


def _texts(text: str) -> list[Json]:
    """A text as messages: Telegram's apps split what is over 4096 characters."""
    contents = []
    for piece in _pieces(text.strip()):
        formatted = finished(Formatted(piece))
        content: Json = {"text": formatted.text}
        if formatted.entities:
            content["entities"] = formatted.entities
        if formatted.text:
            contents.append(content)
    if not contents:
        raise ApiError(422, "an empty text cannot be sent")
    return contents


def _pieces(text: str) -> Iterator[str]:
    """At most `MAX_TEXT` UTF-16 units each; a surrogate pair stays together."""
    units = text.encode("utf-16-le")
    start = 0
    while start < len(units):
        end = start + 2 * MAX_TEXT
        if 0xD8 <= units[end - 1 : end].ljust(1, b"\0")[0] < 0xDC:
            end -= 2
        yield units[start:end].decode("utf-16-le")
        start = end


def _bytes(encoded: str, name: str) -> bytes:
    _, _, data = encoded.rpartition(",") if encoded.startswith("data:") else ("", "", encoded)
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        raise ApiError(422, f"{name} must be base64 or a data URL") from None


async def press_button(world: World, body: PressButton) -> Json:
    person = world.person(body.user_id)
    chat = world.chat_of(person, body.chat_id)
    message = chat.messages.get(body.message_id)
    if message is None:
        raise ApiError(404, f"there is no message {body.message_id} in this chat")
    button = _find_button(message, body.button)
    if "copy_text" in button:
        return {"answer": None, "copied": button["copy_text"]["text"]}
    if "callback_data" not in button:
        return {"answer": None, "url": button.get("url")}
    press = world.press(person, message, button["callback_data"])
    try:
        answer = await asyncio.wait_for(press.answered, _ANSWER_DEADLINE_S)
    except TimeoutError:
        return {"answer": None, "answered": False}
    return {
        "answer": answer.text,
        "alert": answer.show_alert,
        "url": answer.url or None,
        "answered": True,
    }


def _find_button(message: Message, wanted: str) -> Json:
    rows = (message.markup or {}).get("inline_keyboard", [])
    buttons: list[Json] = [button for row in rows for button in row]
    for button in buttons:
        if wanted in (button.get("callback_data"), button["text"]):
            return button
    shown = ", ".join(repr(b["text"]) for b in buttons) or "none"
    raise ApiError(404, f"message {message.message_id} has no button {wanted!r}; it has: {shown}")
