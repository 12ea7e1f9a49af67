"""What people do in their chats: send messages and press buttons."""

import asyncio
import base64
import secrets
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from telegram_bot.local.errors import ApiError
from telegram_bot.local.formatting.entities import (
    MAX_CAPTION,
    MAX_TEXT,
    Formatted,
    Json,
    normalise,
    utf16_length,
)
from telegram_bot.local.state.model import Chat, Message
from telegram_bot.local.state.world import World

_ANSWER_TIMEOUT_S = 15.0
"""How long to wait for the bot's answer to a button press."""


def _check_unicode(text: str) -> str:
    text.encode()  # raises ValueError for lone surrogates, which JSON can carry
    return text


Text = Annotated[str, AfterValidator(_check_unicode)]


class Body(BaseModel):
    """A JSON body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Send(Body):
    """A person's message: text, photo(s) or a document; files in base64 or as data URLs."""

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
    """`button` is the button's text or its callback data."""

    user_id: int
    chat_id: int | None = None
    message_id: int
    button: Text


async def send(world: World, body: Send) -> Json:
    person = world.directory.person(body.user_id)
    chat = world.directory.chat_of(person, body.chat_id)
    if person.blocked and chat.is_private:
        raise ApiError(409, "this user has blocked the bot; unblock it first (POST /chat/people)")
    replied = None
    if body.reply_to is not None:
        replied = _message(chat, body.reply_to, " to reply to")
    contents = await _contents(world, body)
    group = str(secrets.randbits(53)) if body.photos and len(contents) > 1 else None
    messages = [
        world.post(chat, person, content, reply_to=replied, media_group_id=group)
        for content in contents
    ]
    ids = [message.message_id for message in messages]
    return {"message_id": ids[-1], "message_ids": ids}


async def press_button(world: World, body: PressButton) -> Json:
    """Press a button as the apps do; for callback data, wait for the bot's answer."""
    person = world.directory.person(body.user_id)
    message = _message(world.directory.chat_of(person, body.chat_id), body.message_id)
    button = _find_button(message, body.button)
    if "copy_text" in button:
        return {"answer": None, "copied": button["copy_text"]["text"]}
    if "callback_data" not in button:
        return {"answer": None, "url": button.get("url")}
    press = world.press(person, message, button["callback_data"])
    try:
        answer = await asyncio.wait_for(press.answered, _ANSWER_TIMEOUT_S)
    except TimeoutError:
        return {"answer": None, "answered": False}
    return {
        "answer": answer.text,
        "alert": answer.show_alert,
        "url": answer.url or None,
        "answered": True,
    }


def _message(chat: Chat, message_id: int, purpose: str = "") -> Message:
    if message_id not in chat.messages:
        raise ApiError(404, f"there is no message {message_id} in this chat{purpose}")
    return chat.messages[message_id]


async def _contents(world: World, body: Send) -> list[Json]:
    if sum(v is not None for v in (body.text, body.photo, body.photos, body.document)) != 1:
        raise ApiError(422, "give exactly one of text, photo, photos and document")
    if body.text is not None:
        return _texts(body.text)
    caption = normalise(Formatted(body.caption))
    if utf16_length(caption.text) > MAX_CAPTION:
        raise ApiError(422, f"a caption has at most {MAX_CAPTION} characters")
    if body.document is not None:
        data = _decode(body.document, "document")
        return [
            {"document": await world.files.add_document(data, body.file_name)}
            | caption.content("caption")
        ]
    photos = body.photos if body.photos is not None else [body.photo or ""]
    contents: list[Json] = []
    for photo in photos:
        sizes = await world.files.add_photo(_decode(photo, "photo"), from_bot=False)
        contents.append({"photo": sizes})
    contents[0] |= caption.content("caption")
    return contents


def _texts(text: str) -> list[Json]:
    """Split a text into messages, as Telegram's apps do beyond 4096 characters."""
    pieces = [normalise(Formatted(piece)) for piece in _pieces(text.strip())]
    contents = [piece.content() for piece in pieces if piece.text]
    if not contents:
        raise ApiError(422, "an empty text cannot be sent")
    return contents


def _pieces(text: str) -> Iterator[str]:
    """Yield at most `MAX_TEXT` UTF-16 units at a time, never half a surrogate pair."""
    units = text.encode("utf-16-le")
    start = 0
    while start < len(units):
        end = start + 2 * MAX_TEXT
        if 0xD8 <= units[end - 1 : end].ljust(1, b"\0")[0] < 0xDC:
            end -= 2
        yield units[start:end].decode("utf-16-le")
        start = end


def _decode(encoded: str, name: str) -> bytes:
    data = encoded.rpartition(",")[2] if encoded.startswith("data:") else encoded
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        raise ApiError(422, f"{name} must be base64 or a data URL") from None


def _find_button(message: Message, name: str) -> Json:
    buttons = [button for row in message.buttons for button in row]
    for button in buttons:
        if name in (button.get("callback_data"), button["text"]):
            return button
    known = ", ".join(repr(b["text"]) for b in buttons) or "none"
    raise ApiError(404, f"message {message.message_id} has no button {name!r}; it has: {known}")
