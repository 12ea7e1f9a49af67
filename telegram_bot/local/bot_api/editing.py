"""Methods that change or remove messages, or react to them."""

from typing import Any

from telegram_bot.local.bot_api.content import caption_content, input_media, text_content
from telegram_bot.local.bot_api.keyboards import read_markup
from telegram_bot.local.bot_api.parameters import Method, Params
from telegram_bot.local.errors import NOT_MODIFIED, BadRequest
from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.model import Message
from telegram_bot.local.state.world import World

_DELETABLE_S = 48 * 3600
_MEDIA = ("photo", "document")


def _message(world: World, params: Params, purpose: str) -> Message:
    """Return the message of the call; `purpose` completes "message to … not found"."""
    chat = world.directory.chat_for_bot(params.text("chat_id"))
    if not params.integer("message_id"):
        raise BadRequest("message identifier is not specified")
    message = chat.messages.get(params.integer("message_id"))
    if message is None:
        raise BadRequest(f"message to {purpose} not found")
    return message


def _own_message(world: World, params: Params) -> Message:
    if params.has("inline_message_id"):
        raise BadRequest("MESSAGE_ID_INVALID")
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


async def edit_message_text(world: World, params: Params) -> Any:
    message = _own_message(world, params)
    content = text_content(params)
    if "text" not in message.content:
        raise BadRequest("there is no text in the message to edit")
    return _edit(world, message, content, read_markup(params))


async def edit_message_caption(world: World, params: Params) -> Any:
    message = _own_message(world, params)
    caption = caption_content(params)
    media = {k: message.content[k] for k in _MEDIA if k in message.content}
    if not media:
        raise BadRequest("there is no caption in the message to edit")
    return _edit(world, message, media | caption, read_markup(params))


async def edit_message_media(world: World, params: Params) -> Any:
    message = _own_message(world, params)
    media = params.json("media", "input media")
    if media is None:
        raise BadRequest('parameter "media" is required')
    markup = read_markup(params)
    content = await input_media(media, params, world.files)
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


METHODS: dict[str, Method] = {
    "editMessageText": edit_message_text,
    "editMessageCaption": edit_message_caption,
    "editMessageMedia": edit_message_media,
    "editMessageReplyMarkup": edit_message_reply_markup,
    "deleteMessage": delete_message,
    "setMessageReaction": set_message_reaction,
}
