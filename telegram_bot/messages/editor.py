"""The only one that sends and edits messages: what is shown, and how Telegram is told."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from telegram import (
    InputMediaDocument,
    InputMediaPhoto,
    LinkPreviewOptions,
    Message,
    ReplyParameters,
)
from telegram.constants import ParseMode
from telegram.error import BadRequest, TelegramError
from telegram.ext import ExtBot

from telegram_bot.messages.rate_limiter import RateLimiter, Urgency
from telegram_bot.messages.view import Keyboard, Media, View, markup

_BLANK = Path(__file__).with_name("blank.png")
_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)
_GONE = ("message to edit not found", "message can't be edited", "message_id_invalid")
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class MessageGone(Exception):
    """There is no such message to edit any more."""


@dataclass
class Place:
    """Where something is shown. `holds_media`: it is a photo or a file, not a text."""

    chat_id: int
    message_id: int
    holds_media: bool = False


class Editor:
    """Raises TelegramErrors as they come, but for what does no harm."""

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
        """A new message."""
        reply = ReplyParameters(reply_to, allow_sending_without_reply=True) if reply_to else None
        keyboard = markup(view.keyboard)
        if view.media is None:
            return await self.bot.send_message(
                chat_id,
                view.text,
                parse_mode=ParseMode.HTML,
                reply_markup=keyboard,
                reply_parameters=reply,
                disable_notification=silent,
                link_preview_options=_NO_PREVIEW,
                rate_limit_args=urgency,
            )
        content, name = view.media.content, view.media.name
        if view.media.kind == "photo":
            return await self.bot.send_photo(
                chat_id,
                content,
                caption=view.text,
                filename=name,
                parse_mode=ParseMode.HTML,
                reply_markup=keyboard,
                reply_parameters=reply,
                disable_notification=silent,
                rate_limit_args=urgency,
            )
        return await self.bot.send_document(
            chat_id,
            content,
            caption=view.text,
            filename=name,
            parse_mode=ParseMode.HTML,
            reply_markup=keyboard,
            reply_parameters=reply,
            disable_notification=silent,
            disable_content_type_detection=True,
            rate_limit_args=urgency,
        )

    async def edit(
        self, place: Place, view: View, urgency: Urgency = Urgency.REPLY
    ) -> Message | None:
        """The same message, changed; None when it looked so already. Raises MessageGone."""
        try:
            message = await self._edit(place, view, urgency)
        except BadRequest as refusal:
            reason = refusal.message.lower()
            if "not modified" in reason:
                return None
            if any(gone in reason for gone in _GONE):
                raise MessageGone from refusal
            if "there is no text in the message" in reason and not place.holds_media:
                place.holds_media = True
                return await self.edit(place, view, urgency)
            raise
        place.holds_media = place.holds_media or view.media is not None
        return message

    async def _edit(self, place: Place, view: View, urgency: Urgency) -> Message | None:
        keyboard = markup(view.keyboard)
        media = view.media
        if media is None and view.blank and place.holds_media:
            media = Media("photo", self._blank, "blank.png")
        if media is not None:
            answer = await self.bot.edit_message_media(
                _input_media(media, view),
                place.chat_id,
                place.message_id,
                reply_markup=keyboard,
                rate_limit_args=urgency,
            )
        elif place.holds_media:
            answer = await self.bot.edit_message_caption(
                place.chat_id,
                place.message_id,
                caption=view.text,
                parse_mode=ParseMode.HTML,
                reply_markup=keyboard,
                rate_limit_args=urgency,
            )
        else:
            answer = await self.bot.edit_message_text(
                view.text,
                place.chat_id,
                place.message_id,
                parse_mode=ParseMode.HTML,
                reply_markup=keyboard,
                link_preview_options=_NO_PREVIEW,
                rate_limit_args=urgency,
            )
        return answer if isinstance(answer, Message) else None

    async def has_keyboard(self, chat_id: int, message_id: int, keyboard: Keyboard) -> bool:
        """Whether this is a message of ours with exactly this keyboard.

        Telegram does not show a bot its messages, but says "not modified" to an edit that changes
        nothing. Ask only about ids that are no other known message of ours.
        """
        try:
            await self.bot.edit_message_reply_markup(
                chat_id, message_id, reply_markup=markup(keyboard), rate_limit_args=Urgency.REPLY
            )
        except BadRequest as refusal:
            return "not modified" in refusal.message.lower()
        await self.rekey(chat_id, message_id)  # another one of ours: nothing of this job there
        return False

    async def remove(self, chat_id: int, message_id: int) -> bool:
        """Delete a message; False where Telegram does not let us (older than 48 hours, or gone)."""
        with suppress(BadRequest):
            return await self.bot.delete_message(chat_id, message_id)
        return False

    async def rekey(self, chat_id: int, message_id: int, keyboard: Keyboard = ()) -> None:
        """Other buttons under the same message, or none."""
        with suppress(BadRequest):
            await self.bot.edit_message_reply_markup(
                chat_id, message_id, reply_markup=markup(keyboard)
            )


def may_have_arrived(error: TelegramError) -> bool:
    """Whether Telegram may have done what it never answered."""
    cause = error.__cause__
    return isinstance(cause, httpx.HTTPError) and not isinstance(cause, _NEVER_SENT)


def _input_media(media: Media, view: View) -> InputMediaPhoto | InputMediaDocument:
    if media.kind == "photo":
        return InputMediaPhoto(
            media.content, caption=view.text, parse_mode=ParseMode.HTML, filename=media.name
        )
    return InputMediaDocument(
        media.content,
        caption=view.text,
        parse_mode=ParseMode.HTML,
        filename=media.name,
        disable_content_type_detection=True,
    )
