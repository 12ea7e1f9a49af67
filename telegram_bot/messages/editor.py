"""Send and edit messages: the only place that turns views into calls of the Bot API."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from telegram import (
    InputMediaDocument,
    InputMediaPhoto,
    LinkPreviewOptions,
    Message,
    ReplyParameters,
)
from telegram.constants import ParseMode
from telegram.error import BadRequest, ChatMigrated, TelegramError
from telegram.ext import ExtBot

from telegram_bot.messages.rate_limiter import RateLimiter, Urgency
from telegram_bot.messages.view import Keyboard, Media, View, markup

_BLANK = Path(__file__).with_name("blank.png")
_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)
_GONE_REASONS = ("message to edit not found", "message can't be edited", "message_id_invalid")
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class MessageGone(Exception):
    """The message to edit no longer exists."""


@dataclass
class Place:
    """A message to edit; `holds_media`: a photo or a file, not a text. `edit` corrects that."""

    chat_id: int
    message_id: int
    holds_media: bool = False


class Editor:
    """Passes TelegramErrors on, except for those that do no harm."""

    def __init__(self, bot: ExtBot[Urgency], limiter: RateLimiter) -> None:
        self.bot = bot
        self.limiter = limiter
        self._blank = _BLANK.read_bytes()

    async def send(
        self,
        chat_id: int,
        view: View,
        *,
        reply_to: int | None = None,
        silent: bool = False,
        urgency: Urgency = Urgency.REPLY,
    ) -> Message:
        reply = ReplyParameters(reply_to, allow_sending_without_reply=True) if reply_to else None
        options: dict[str, Any] = {
            "parse_mode": ParseMode.HTML,
            "reply_markup": markup(view.keyboard),
            "reply_parameters": reply,
            "disable_notification": silent,
            "rate_limit_args": urgency,
        }
        media = view.media
        if media is None:
            options["link_preview_options"] = _NO_PREVIEW
            return await self.bot.send_message(chat_id, view.text, **options)
        options |= {"caption": view.text, "filename": media.name}
        if media.kind == "photo":
            return await self.bot.send_photo(chat_id, media.content, **options)
        options["disable_content_type_detection"] = True
        return await self.bot.send_document(chat_id, media.content, **options)

    async def edit(
        self, place: Place, view: View, urgency: Urgency = Urgency.REPLY
    ) -> Message | None:
        """Change a message; return None if it looked so already. Raises MessageGone."""
        try:
            message = await self._edit(place, view, urgency)
        except BadRequest as refusal:
            reason = refusal.message.lower()
            if "not modified" in reason:
                return None
            if any(gone in reason for gone in _GONE_REASONS):
                raise MessageGone from refusal
            if "there is no text in the message" in reason and not place.holds_media:
                place.holds_media = True
                return await self.edit(place, view, urgency)
            raise
        place.holds_media = place.holds_media or view.media is not None
        return message

    async def _edit(self, place: Place, view: View, urgency: Urgency) -> Message | None:
        options: dict[str, Any] = {
            "chat_id": place.chat_id,
            "message_id": place.message_id,
            "reply_markup": markup(view.keyboard),
            "rate_limit_args": urgency,
        }
        media = view.media
        if media is None and view.blank and place.holds_media:
            media = Media("photo", self._blank, "blank.png")
        html: dict[str, Any] = {"parse_mode": ParseMode.HTML}
        if media is not None:
            answer = await self.bot.edit_message_media(_input_media(media, view), **options)
        elif place.holds_media:
            answer = await self.bot.edit_message_caption(caption=view.text, **html, **options)
        else:
            options["link_preview_options"] = _NO_PREVIEW
            answer = await self.bot.edit_message_text(view.text, **html, **options)
        return answer if isinstance(answer, Message) else None

    async def has_keyboard(self, chat_id: int, message_id: int, keyboard: Keyboard) -> bool:
        """Return whether this is a message of the bot with exactly this keyboard.

        Telegram does not show a bot its messages, but says "not modified" to an edit that changes
        nothing. Never pass the id of another known message: its keyboard would be replaced.
        """
        try:
            await self.bot.edit_message_reply_markup(
                chat_id, message_id, reply_markup=markup(keyboard), rate_limit_args=Urgency.REPLY
            )
        except BadRequest as refusal:
            return "not modified" in refusal.message.lower()
        # The edit hit another message of the bot: the buttons do not belong there.
        await self.set_keyboard(chat_id, message_id)
        return False

    async def remove(self, chat_id: int, message_id: int) -> bool:
        """Delete a message; False if Telegram refuses: it is gone, or older than 48 hours."""
        with suppress(BadRequest, ChatMigrated):
            return await self.bot.delete_message(chat_id, message_id)
        return False

    async def set_keyboard(self, chat_id: int, message_id: int, keyboard: Keyboard = ()) -> None:
        """Replace the buttons under a message, or remove them."""
        with suppress(BadRequest, ChatMigrated):
            await self.bot.edit_message_reply_markup(
                chat_id, message_id, reply_markup=markup(keyboard)
            )


def may_have_arrived(error: TelegramError) -> bool:
    """Return whether Telegram may have done what it never answered."""
    cause = error.__cause__
    return isinstance(cause, httpx.HTTPError) and not isinstance(cause, _NEVER_SENT)


def _input_media(media: Media, view: View) -> InputMediaPhoto | InputMediaDocument:
    options: dict[str, Any] = {"caption": view.text, "filename": media.name}
    options["parse_mode"] = ParseMode.HTML
    if media.kind == "photo":
        return InputMediaPhoto(media.content, **options)
    return InputMediaDocument(media.content, disable_content_type_detection=True, **options)
