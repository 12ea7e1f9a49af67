"""Methods that send messages."""

import secrets
from typing import Any

from telegram_bot.local.bot_api.content import (
    caption_content,
    input_media,
    media_content,
    text_content,
)
from telegram_bot.local.bot_api.keyboards import read_markup
from telegram_bot.local.bot_api.parameters import Method, Params
from telegram_bot.local.errors import BadRequest
from telegram_bot.local.state.model import Chat, Message
from telegram_bot.local.state.world import World

_MAX_ALBUM = 10
_ACTIONS = (
    *("typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice"),
    *("upload_document", "choose_sticker", "find_location"),
    *("record_video_note", "upload_video_note"),
)


def _target(world: World, params: Params) -> tuple[Chat, Message | None]:
    """Return the chat to write to, and the message to reply to."""
    chat = world.directory.chat_for_bot(params.text("chat_id"))
    chat.check_writable()
    return chat, _replied(chat, params)


def _replied(chat: Chat, params: Params) -> Message | None:
    reply = params.json("reply_parameters", "reply parameters")
    if reply is None:
        message_id = params.integer("reply_to_message_id")
        optional = params.boolean("allow_sending_without_reply")
    elif isinstance(reply, dict):
        message_id = _message_id(reply.get("message_id"))
        optional = bool(reply.get("allow_sending_without_reply"))
    else:
        raise BadRequest("object expected as reply parameters")
    if not message_id:
        return None
    message = chat.messages.get(message_id)
    if message is None and not optional:
        raise BadRequest("message to be replied not found")
    return message


def _message_id(value: object) -> int:
    try:
        return 0 if value is None else int(str(value))
    except ValueError:
        raise BadRequest("can't parse reply parameters: message_id is invalid") from None


async def send_message(world: World, params: Params) -> Any:
    chat, replied = _target(world, params)
    content = text_content(params)
    message = world.post(chat, None, content, markup=read_markup(params), reply_to=replied)
    return message.api(world.bot)


async def _send_media(kind: str, world: World, params: Params) -> Any:
    chat, replied = _target(world, params)
    caption = caption_content(params)
    markup = read_markup(params)
    content = await media_content(kind, params, world.files) | caption
    return world.post(chat, None, content, markup=markup, reply_to=replied).api(world.bot)


async def send_photo(world: World, params: Params) -> Any:
    return await _send_media("photo", world, params)


async def send_document(world: World, params: Params) -> Any:
    return await _send_media("document", world, params)


async def send_media_group(world: World, params: Params) -> Any:
    chat, replied = _target(world, params)
    media = params.array("media", "media", "InputMedia")
    if not media:
        raise BadRequest("there are no messages to send")
    if len(media) < 2:
        raise BadRequest("too few messages to send as an album")
    if len(media) > _MAX_ALBUM:
        raise BadRequest("too many messages to send as an album")
    if len({m.get("type") for m in media if isinstance(m, dict)}) > 1:
        raise BadRequest("document can't be mixed with other media types")
    contents = [await input_media(item, params, world.files) for item in media]
    group = str(secrets.randbits(53))
    messages = [
        world.post(chat, None, content, reply_to=replied, media_group_id=group)
        for content in contents
    ]
    return [message.api(world.bot) for message in messages]


async def send_chat_action(world: World, params: Params) -> Any:
    chat = world.directory.chat_for_bot(params.text("chat_id"))
    chat.check_writable()
    action = params.text("action")
    if action not in _ACTIONS:
        raise BadRequest("wrong parameter action in request")
    world.feed.publish("action", chat_id=chat.id, action=action)
    return True


METHODS: dict[str, Method] = {
    "sendMessage": send_message,
    "sendPhoto": send_photo,
    "sendDocument": send_document,
    "sendMediaGroup": send_media_group,
    "sendChatAction": send_chat_action,
}
