"""A message that follows a generation: progress may be skipped, the final view never."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog
from telegram import Message
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    NetworkError,
    RetryAfter,
    TelegramError,
)

from telegram_bot.messages.editor import Editor, MessageGone, Place, may_have_arrived
from telegram_bot.messages.rate_limiter import EditSkipped, Urgency
from telegram_bot.messages.refusals import forbids_writing
from telegram_bot.messages.view import Keyboard, View
from telegram_bot.storage.deliveries import Deliveries, Delivery
from web.following import ReadOnly

_TEXT_INTERVAL_S, _MEDIA_INTERVAL_S, _GROUP_INTERVAL_S = 2.0, 4.0, 6.0
_MAX_BACKOFF_S = 60.0
_MAX_TRIES = 300
_SEARCHED_IDS = 3
log = structlog.get_logger("telegram_bot.messages.live_message")


@dataclass(eq=False)
class LiveMessage:
    """Shows the latest view at the pace Telegram tolerates.

    Only its own methods change its state: it keeps the message columns of the delivery's `row`.
    `ending`: its final view is due, and nothing else is shown after that. `blocked`: Telegram says
    that the bot may not write there.

    After a send of unknown outcome (`unsure`) the message is searched for by `first_keyboard`, the
    keyboard it begins with. If that fails it is not sent again before the final view, and pictures
    only ever come by editing a message: so each comes once.
    """

    _row: Delivery
    editor: Editor
    deliveries: Deliveries
    first_keyboard: Keyboard

    row = ReadOnly[Delivery]()

    def __post_init__(self) -> None:
        self.ending = asyncio.Event()
        self.blocked = asyncio.Event()
        self._searched = False
        self._latest: View | None = None
        self._shown: View | None = None
        self._edited_at = self._media_at = -1e9
        self._changed = asyncio.Event()
        self._editing = asyncio.Lock()

    def show(self, view: View) -> None:
        """Show progress: the latest view wins, and each may be skipped."""
        if not self.ending.is_set():
            self._latest = view
            self._changed.set()

    def adopt(self, message_id: int) -> None:
        """Take this id if the arrival of the message was unsure."""
        if self.row.message_id is None:
            self._update(message_id=message_id, unsure=False)

    async def run(self) -> None:
        """Show progress until `finish`."""
        while not self.ending.is_set():
            await self._changed.wait()
            self._changed.clear()
            if self._latest is None or self._latest == self._shown:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._due(self._latest) - time.monotonic())):
                    await self.ending.wait()
            async with self._editing:
                if not self.ending.is_set() and not self.blocked.is_set():
                    await self._show_progress(self._latest)

    async def finish(self, view: View) -> Message | None:
        """Show the final view, however long Telegram makes the bot wait.

        Raises:
            Forbidden: The person has blocked the bot.
            BadRequest: Telegram rejects the view.
        """
        self.ending.set()
        self._changed.set()
        async with self._editing:
            await self.editor.limiter.resumed(self.row.chat_id)
            for tries in range(_MAX_TRIES):
                try:
                    return await self._put(view, Urgency.RESULT)
                except (MessageGone, ChatMigrated) as lost:
                    self._forget_message(lost)
                except BadRequest:
                    raise
                except (NetworkError, RetryAfter) as error:
                    log.debug("result_delayed", reason=type(error).__name__)
                    await asyncio.sleep(min(_MAX_BACKOFF_S, 0.5 * 2 ** min(tries, 10)))
        raise BadRequest("Telegram did not take it")

    async def _show_progress(self, view: View) -> None:
        try:
            await self._put(view, Urgency.PROGRESS)
        except (MessageGone, ChatMigrated) as lost:
            self._forget_message(lost)
        except EditSkipped:
            self._edited_at = time.monotonic()
            self._changed.set()
        except (Forbidden, NetworkError, RetryAfter) as error:
            if forbids_writing(error):
                self.blocked.set()
            log.debug("progress_skipped", reason=type(error).__name__)

    async def _put(self, view: View, urgency: Urgency) -> Message | None:
        if self.row.message_id is None and not await self._begin(view, urgency):
            return None
        if self._shown == view or self.row.message_id is None:
            return None
        place = Place(self.row.chat_id, self.row.message_id, self.row.holds_media)
        self._edited_at = time.monotonic()
        if view.media is not None:
            self._media_at = self._edited_at
        message = await self.editor.edit(place, view, urgency)
        self._shown = view
        if place.holds_media != self.row.holds_media:
            self._update(holds_media=place.holds_media)
        return message

    async def _begin(self, view: View, urgency: Urgency) -> bool:
        """Send the message as a text, into which a picture is then put; False if it must wait."""
        if self.row.unsure and await self._find():
            return True
        if self.row.unsure and urgency is Urgency.PROGRESS:
            return False
        self._update(unsure=True)
        text = replace(view, media=None)
        first = Urgency.REPLY if urgency is Urgency.PROGRESS else urgency
        try:
            sent = await self.editor.send(
                self.row.chat_id, text, reply_to=self.row.reply_to, silent=True, urgency=first
            )
        except TelegramError as error:
            self.first_keyboard, self._searched = view.keyboard, False
            self._edited_at = time.monotonic()
            self._update(unsure=may_have_arrived(error))
            self._changed.set()
            raise
        self._shown = text
        self._edited_at = time.monotonic()
        self._update(message_id=sent.message_id, unsure=False)
        return True

    async def _find(self) -> bool:
        """Search for the message among the few ids after the one it answers."""
        reply_to = self.row.reply_to
        if self._searched or reply_to is None or not self.first_keyboard:
            return False
        self._searched = True
        for message_id in range(reply_to + 1, reply_to + 1 + _SEARCHED_IDS):
            if self.deliveries.has_message(self.row.chat_id, message_id):
                continue
            if await self.editor.has_keyboard(self.row.chat_id, message_id, self.first_keyboard):
                self.adopt(message_id)
                return True
        return False

    def _forget_message(self, reason: MessageGone | ChatMigrated) -> None:
        """Note that the message is gone: the final view is sent as a new one."""
        chat_id = reason.new_chat_id if isinstance(reason, ChatMigrated) else self.row.chat_id
        self._shown, self._searched = None, True
        self._update(chat_id=chat_id, message_id=None, holds_media=False, unsure=True)

    def _update(self, **changes: Any) -> None:
        self._row = replace(self.row, **changes)
        self.deliveries.set_message(self.row)

    def _due(self, view: View) -> float:
        """Return when this may be shown, in monotonic seconds."""
        if self.row.chat_id < 0:
            return max(self._edited_at, self._media_at) + _GROUP_INTERVAL_S
        if view.media is not None:
            return max(self._edited_at + _TEXT_INTERVAL_S, self._media_at + _MEDIA_INTERVAL_S)
        return self._edited_at + _TEXT_INTERVAL_S
