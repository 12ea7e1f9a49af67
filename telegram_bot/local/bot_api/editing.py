"""Methods that change or remove messages."""

from typing import Any

from telegram_bot.local.bot_api.content import (
    caption_content,
    caption_source,
    input_media,
    text_content,
)
from telegram_bot.local.bot_api.keyboards import read_markup
from telegram_bot.local.bot_api.method import Method, shown
from telegram_bot.local.bot_api.parameters import Params
from telegram_bot.local.errors import NOT_MODIFIED, BadRequestError
from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.model import Message
from telegram_bot.local.state.world import World

_DELETABLE_S = 48 * 3600
_MEDIA = ("photo", "document")


def _message(world: World, params: Params) -> Message:
    """The bot's own message that the call names."""
    if params.has("inline_message_id"):
        raise BadRequestError("MESSAGE_ID_INVALID")
    chat = world.chat_for_bot(params.text("chat_id"))
    if not params.integer("message_id"):
        raise BadRequestError("message identifier is not specified")
    message = chat.messages.get(params.integer("message_id"))
    if message is None:
        raise BadRequestError("message to edit not found")
    if message.sender is not None:
        raise BadRequestError("message can't be edited")
    world.check_writable(chat)
    return message


def _edited(world: World, message: Message, content: Json, markup: Json | None) -> Any:
    if content == message.content and markup == message.markup:
        raise BadRequestError(NOT_MODIFIED)
    world.change(message, content, markup)
    return shown(world, message)


async def edit_message_text(world: World, params: Params) -> Any:
    message = _message(world, params)
    content = text_content(params)
    if "text" not in message.content:
        raise BadRequestError("there is no text in the message to edit")
    return _edited(world, message, content, read_markup(params))


async def edit_message_caption(world: World, params: Params) -> Any:
    message = _message(world, params)
    caption = caption_content(caption_source(params))
    media = {k: message.content[k] for k in _MEDIA if k in message.content}
    if not media:
        raise BadRequestError("there is no caption in the message to edit")
    return _edited(world, message, media | caption, read_markup(params))


async def edit_message_media(world: World, params: Params) -> Any:
    message = _message(world, params)
    media = params.json("media", "input media")
    if media is None:
        raise BadRequestError('parameter "media" is required')
    markup = read_markup(params)
    content = await input_media(media, params, world.files)
    if message.message_id not in message.chat.messages:
        raise BadRequestError("message to edit not found")
    return _edited(world, message, content, markup)


async def edit_message_reply_markup(world: World, params: Params) -> Any:
    message = _message(world, params)
    return _edited(world, message, message.content, read_markup(params))


def _delete(world: World, message: Message) -> None:
    foreign = message.sender is not None and not message.chat.is_private
    if foreign or world.now() - message.date > _DELETABLE_S:
        raise BadRequestError("message can't be deleted for everyone")
    world.delete(message)


async def delete_message(world: World, params: Params) -> Any:
    chat = world.chat_for_bot(params.text("chat_id"))
    if not params.integer("message_id"):
        raise BadRequestError("message identifier is not specified")
    message = chat.messages.get(params.integer("message_id"))
    if message is None:
        raise BadRequestError("message to delete not found")
    _delete(world, message)
    return True


async def delete_messages(world: World, params: Params) -> Any:
    """Those not found or not deletable are skipped, as Telegram does."""
    chat = world.chat_for_bot(params.text("chat_id"))
    ids = params.array("message_ids", "message_ids", "message identifiers")
    if not ids:
        raise BadRequestError("message identifiers are not specified")
    if len(ids) > 100:
        raise BadRequestError("too many message identifiers specified")
    for message_id in ids:
        message = chat.messages.get(message_id) if isinstance(message_id, int) else None
        if message is not None:
            _delete(world, message)
    return True


async def set_message_reaction(world: World, params: Params) -> Any:
    chat = world.chat_for_bot(params.text("chat_id"))
    message = chat.messages.get(params.integer("message_id"))
    if message is None:
        raise BadRequestError("message to react not found")
    reactions = params.array("reaction", "reaction types", "ReactionType") or []
    if len(reactions) > 1 or not all(isinstance(r, dict) for r in reactions):
        raise BadRequestError("REACTIONS_TOO_MANY")
    message.reactions = reactions
    world.show(message)
    return True


METHODS: dict[str, Method] = {
    "editMessageText": edit_message_text,
    "editMessageCaption": edit_message_caption,
    "editMessageMedia": edit_message_media,
    "editMessageReplyMarkup": edit_message_reply_markup,
    "deleteMessage": delete_message,
    "deleteMessages": delete_messages,
    "setMessageReaction": set_message_reaction,
}
