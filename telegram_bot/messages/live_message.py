"""A message that follows a generation: progress may be skipped, the final view never."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
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
from telegram_bot.messages.view import Keyboard, View
from telegram_bot.storage.deliveries import Deliveries, Delivery

_TEXT_INTERVAL_S, _MEDIA_INTERVAL_S, _GROUP_INTERVAL_S = 2.0, 4.0, 6.0
_MAX_BACKOFF_S = 60.0
_MAX_TRIES = 300
_SEARCHED_IDS = 3
log = structlog.get_logger("telegram_bot.messages.live_message")


class LiveMessage:
    """Shows the latest view at the pace Telegram tolerates.

    Only its own methods change its state: it keeps the message columns of the delivery's row.

    After a send of unknown outcome (`unsure`) the message is searched for by `first_keyboard`, the
    keyboard it begins with. If that fails it is not sent again before the final view, and pictures
    only ever come by editing a message: so each comes once.
    """

    def __init__(
        self,
        delivery: Delivery,
        *,
        editor: Editor,
        deliveries: Deliveries,
        first_keyboard: Keyboard,
    ) -> None:
        self._row = delivery
        self._editor = editor
        self._deliveries = deliveries
        self._first_keyboard = first_keyboard
        self._searched = False
        self._latest: View | None = None
        self._shown: View | None = None
        self._edited_at = self._media_at = -1e9
        self._changed = asyncio.Event()
        self._ending = asyncio.Event()
        self._blocked = asyncio.Event()
        self._editing = asyncio.Lock()

    @property
    def chat_id(self) -> int:
        return self._row.chat_id

    @property
    def message_id(self) -> int | None:
        return self._row.message_id

    @property
    def ending(self) -> bool:
        """Whether its final view is due: nothing else is shown after that."""
        return self._ending.is_set()

    async def wait_blocked(self) -> None:
        """Wait until Telegram says that the person has blocked the bot."""
        await self._blocked.wait()

    def show(self, view: View) -> None:
        """Show progress: the latest view wins, and each may be skipped."""
        if not self._ending.is_set():
            self._latest = view
            self._changed.set()

    def adopt(self, message_id: int) -> None:
        """Take this id if the arrival of the message was unsure."""
        if self.message_id is None:
            self._update(message_id=message_id, unsure=False)

    async def run(self) -> None:
        """Show progress until `finish`."""
        while not self._ending.is_set():
            await self._changed.wait()
            self._changed.clear()
            if self._latest is None or self._latest == self._shown:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._due(self._latest) - time.monotonic())):
                    await self._ending.wait()
            async with self._editing:
                if not self._ending.is_set() and not self._blocked.is_set():
                    await self._show_progress(self._latest)

    async def finish(self, view: View) -> Message | None:
        """Show the final view, however long Telegram makes the bot wait.

        Raises:
            Forbidden: The person has blocked the bot.
            BadRequest: Telegram rejects the view.
        """
        self._ending.set()
        self._changed.set()
        async with self._editing:
            await self._editor.limiter.resumed(self.chat_id)
            for pause in _pauses():
                try:
                    return await self._put(view, Urgency.RESULT)
                except MessageGone:
                    self._forget_message()
                except ChatMigrated as moved:
                    self._forget_message(chat_id=moved.new_chat_id)
                except BadRequest:
                    raise
                except (NetworkError, RetryAfter) as error:
                    log.debug("result_delayed", reason=type(error).__name__)
                    await asyncio.sleep(pause)
        raise BadRequest("Telegram did not take it")

    async def _show_progress(self, view: View) -> None:
        try:
            await self._put(view, Urgency.PROGRESS)
        except MessageGone:
            self._forget_message()
        except ChatMigrated as moved:
            self._forget_message(chat_id=moved.new_chat_id)
        except Forbidden:
            self._blocked.set()
        except EditSkipped:
            self._edited_at = time.monotonic()
            self._changed.set()
        except (NetworkError, RetryAfter) as error:
            log.debug("progress_skipped", reason=type(error).__name__)

    async def _put(self, view: View, urgency: Urgency) -> Message | None:
        if self.message_id is None and not await self._begin(view, urgency):
            return None
        if self._shown == view or self.message_id is None:
            return None
        place = Place(self.chat_id, self.message_id, self._row.holds_media)
        self._edited_at = time.monotonic()
        if view.media is not None:
            self._media_at = self._edited_at
        message = await self._editor.edit(place, view, urgency)
        self._shown = view
        if place.holds_media != self._row.holds_media:
            self._update(holds_media=place.holds_media)
        return message

    async def _begin(self, view: View, urgency: Urgency) -> bool:
        """Send the message as a text, into which a picture is then put; False if it must wait."""
        if self._row.unsure and await self._find():
            return True
        if self._row.unsure and urgency is Urgency.PROGRESS:
            return False
        self._update(unsure=True)
        text = replace(view, media=None)
        first = Urgency.REPLY if urgency is Urgency.PROGRESS else urgency
        try:
            sent = await self._editor.send(
                self.chat_id, text, reply_to=self._row.reply_to, silent=True, urgency=first
            )
        except TelegramError as error:
            self._first_keyboard, self._searched = view.keyboard, False
            self._update(unsure=may_have_arrived(error))
            self._changed.set()
            raise
        self._shown = text
        self._edited_at = time.monotonic()
        self._update(message_id=sent.message_id, unsure=False)
        return True

    async def _find(self) -> bool:
        """Search for the message among the few ids after the one it answers."""
        reply_to = self._row.reply_to
        if self._searched or reply_to is None or not self._first_keyboard:
            return False
        self._searched = True
        for message_id in range(reply_to + 1, reply_to + 1 + _SEARCHED_IDS):
            if self._deliveries.has_message(self.chat_id, message_id):
                continue
            if await self._editor.has_keyboard(self.chat_id, message_id, self._first_keyboard):
                self.adopt(message_id)
                return True
        return False

    def _forget_message(self, **changes: Any) -> None:
        """Note that the message is gone: the final view is sent as a new one."""
        self._shown, self._searched = None, True
        self._update(message_id=None, holds_media=False, unsure=True, **changes)

    def _update(self, **changes: Any) -> None:
        self._row = replace(self._row, **changes)
        self._deliveries.set_message(self._row)

    def _due(self, view: View) -> float:
        """Return when this may be shown, in monotonic seconds."""
        if self.chat_id < 0:
            return max(self._edited_at, self._media_at) + _GROUP_INTERVAL_S
        if view.media is not None:
            return max(self._edited_at + _TEXT_INTERVAL_S, self._media_at + _MEDIA_INTERVAL_S)
        return self._edited_at + _TEXT_INTERVAL_S


def _pauses() -> Iterator[float]:
    for tries in range(_MAX_TRIES):
        yield min(_MAX_BACKOFF_S, 0.5 * 2 ** min(tries, 10))
