"""Methods that send, change and remove messages, or react to them."""

import secrets
from functools import partial
from typing import Any

from telegram_bot.local.bot_api.content import (
    caption_content,
    input_media,
    media_content,
    read_markup,
    text_content,
)
from telegram_bot.local.bot_api.parameters import Method, Params
from telegram_bot.local.errors import NOT_MODIFIED, BadRequest
from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.model import Chat, Message
from telegram_bot.local.state.world import World

_DELETABLE_S = 48 * 3600
_MAX_ALBUM = 10
_MEDIA = ("photo", "document")
_ACTIONS = (
    *("typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice"),
    *("upload_document", "choose_sticker", "find_location"),
    *("record_video_note", "upload_video_note"),
)


async def send_message(world: World, params: Params) -> Any:
    chat, replied = _target(world, params)
    content = text_content(params)
    message = world.post(chat, None, content, markup=read_markup(params), reply_to=replied)
    return message.api(world.bot)


async def _send_media(kind: str, world: World, params: Params) -> Any:
    chat, replied = _target(world, params)
    caption = caption_content(params.values)
    markup = read_markup(params)
    content = await media_content(kind, params, world.files) | caption
    return world.post(chat, None, content, markup=markup, reply_to=replied).api(world.bot)


async def send_media_group(world: World, params: Params) -> Any:
    chat, replied = _target(world, params)
    media = params.array("media", "media", "InputMedia")
    if not media:
        raise BadRequest("there are no messages to send")
    if len(media) < 2:
        raise BadRequest("too few messages to send as an album")
    if len(media) > _MAX_ALBUM:
        raise BadRequest("too many messages to send as an album")
    contents = [await input_media(item, params, world.files) for item in media]
    if len({kind for content in contents for kind in _MEDIA if kind in content}) > 1:
        raise BadRequest("document can't be mixed with other media types")
    group = str(secrets.randbits(53))
    messages = [
        world.post(chat, None, content, reply_to=replied, media_group_id=group)
        for content in contents
    ]
    return [message.api(world.bot) for message in messages]


async def send_chat_action(world: World, params: Params) -> Any:
    chat = _writable_chat(world, params)
    action = params.text("action")
    if action not in _ACTIONS:
        raise BadRequest("wrong parameter action in request")
    world.feed.publish("action", chat_id=chat.id, action=action)
    return True


async def edit_message_text(world: World, params: Params) -> Any:
    message = _own_message(world, params)
    content = text_content(params)
    if "text" not in message.content:
        raise BadRequest("there is no text in the message to edit")
    return _edit(world, message, content, read_markup(params))


async def edit_message_caption(world: World, params: Params) -> Any:
    message = _own_message(world, params)
    caption = caption_content(params.values)
    media = {k: message.content[k] for k in _MEDIA if k in message.content}
    if not media:
        raise BadRequest("there is no caption in the message to edit")
    return _edit(world, message, media | caption, read_markup(params))


async def edit_message_media(world: World, params: Params) -> Any:
    message = _own_message(world, params)
    markup = read_markup(params)
    content = await input_media(params.json("media", "input media"), params, world.files)
    if message.message_id not in message.chat.messages:  # deleted while the photo was resized
        raise BadRequest("message to edit not found")
    return _edit(world, message, content, markup)


async def edit_message_reply_markup(world: World, params: Params) -> Any:
    message = _own_message(world, params)
    return _edit(world, message, message.content, read_markup(params))


async def delete_message(world: World, params: Params) -> Any:
    message = _message(world, params, "delete")
    foreign = message.sender is not None and not message.chat.is_private
    if foreign or world.now() - message.date > _DELETABLE_S:
        raise BadRequest("message can't be deleted for everyone")
    world.delete(message)
    return True


async def set_message_reaction(world: World, params: Params) -> Any:
    message = _message(world, params, "react")
    reactions = params.array("reaction", "reaction types", "ReactionType") or []
    if len(reactions) > 1 or not all(isinstance(r, dict) for r in reactions):
        raise BadRequest("REACTIONS_TOO_MANY")
    message.reactions = reactions
    world.show(message)
    return True


def _writable_chat(world: World, params: Params) -> Chat:
    chat = world.directory.chat_for_bot(params.text("chat_id"))
    chat.check_writable()
    return chat


def _target(world: World, params: Params) -> tuple[Chat, Message | None]:
    """Return the chat to write to, and the message to reply to."""
    chat = _writable_chat(world, params)
    reply = params.json("reply_parameters", "reply parameters")
    if reply is None:
        return chat, None
    if not isinstance(reply, dict) or not isinstance(reply.get("message_id"), int):
        raise BadRequest("can't parse reply parameters: message_id is invalid")
    message = chat.messages.get(reply["message_id"])
    if message is None and not reply.get("allow_sending_without_reply"):
        raise BadRequest("message to be replied not found")
    return chat, message


def _message(world: World, params: Params, purpose: str) -> Message:
    """Return the message of the call; `purpose` completes "message to … not found"."""
    chat = world.directory.chat_for_bot(params.text("chat_id"))
    message = chat.messages.get(params.integer("message_id"))
    if message is None:
        raise BadRequest(f"message to {purpose} not found")
    return message


def _own_message(world: World, params: Params) -> Message:
    message = _message(world, params, "edit")
    if message.sender is not None:
        raise BadRequest("message can't be edited")
    message.chat.check_writable()
    return message


def _edit(world: World, message: Message, content: Json, markup: Json | None) -> Any:
    if content == message.content and markup == message.markup:
        raise BadRequest(NOT_MODIFIED)
    world.edit(message, content, markup)
    return message.api(world.bot)


METHODS: dict[str, Method] = {
    "sendMessage": send_message,
    "sendPhoto": partial(_send_media, "photo"),
    "sendDocument": partial(_send_media, "document"),
    "sendMediaGroup": send_media_group,
    "sendChatAction": send_chat_action,
    "editMessageText": edit_message_text,
    "editMessageCaption": edit_message_caption,
    "editMessageMedia": edit_message_media,
    "editMessageReplyMarkup": edit_message_reply_markup,
    "deleteMessage": delete_message,
    "setMessageReaction": set_message_reaction,
}
