"""One message that follows a state: progress may be skipped, the end never."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

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

_TEXT_GAP_S, _MEDIA_GAP_S, _GROUP_GAP_S = 2.0, 4.0, 6.0
_LONGEST_PAUSE_S = 60.0
_MOST_TRIES = 300
_NEXT = 3
_log = structlog.get_logger("telegram_bot.messages.live_message")


@dataclass
class Spot:
    """As `Place`, before and after there is a message.

    `unsure`: one was sent, and nobody knows whether it arrived. It is looked for; if it is not
    found it is not sent again before there is something to say, and pictures only ever come by
    editing: so each comes once.
    """

    chat_id: int
    message_id: int | None
    reply_to: int | None
    unsure: bool = False
    holds_media: bool = False


class LiveMessage:
    """Shows the latest view at the pace Telegram tolerates; `record` keeps the spot on disk.

    `first` is the keyboard the message begins with, by which it is known again; `taken` tells
    which message ids of the chat belong to other generations.
    """

    def __init__(
        self,
        editor: Editor,
        spot: Spot,
        record: Callable[[Spot], None],
        first: Keyboard,
        taken: Callable[[int], bool],
    ) -> None:
        self._first = first
        self._taken = taken
        self._looked = False
        self.spot = spot
        self.blocked = asyncio.Event()
        self._editor = editor
        self._record = record
        self._latest: View | None = None
        self._shown: View | None = None
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        self._edited_at = self._media_at = -1e9
        self._idle = asyncio.Lock()

    @property
    def ending(self) -> bool:
        """Whether it is being brought to its end: nothing comes after that."""
        return self._ending.is_set()

    def show(self, view: View) -> None:
        """Progress: the latest wins, and none is owed."""
        if not self._ending.is_set():
            self._latest = view
            self._wake.set()

    def adopt(self, message_id: int) -> None:
        """The message whose arrival was unsure has turned up."""
        if self.spot.message_id is None:
            self.spot.message_id, self.spot.unsure = message_id, False
            self._record(self.spot)

    async def run(self) -> None:
        """Shows progress until `finish`."""
        while not self._ending.is_set():
            await self._wake.wait()
            self._wake.clear()
            if self._latest is None or self._latest == self._shown:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self._due(self._latest) - time.monotonic())):
                    await self._ending.wait()
            async with self._idle:
                if not self._ending.is_set() and not self.blocked.is_set():
                    await self._progress(self._latest)

    async def finish(self, view: View) -> Message | None:
        """Shows the end, however long Telegram makes us wait.

        Raises Forbidden when the person has blocked the bot, BadRequest when Telegram refuses it.
        """
        self._ending.set()
        self._wake.set()
        async with self._idle:
            await self._editor.limiter.resumed(self.spot.chat_id)
            for pause in _pauses():
                try:
                    return await self._put(view, Urgency.RESULT)
                except MessageGone:
                    self._lost()
                except ChatMigrated as moved:
                    self.spot.chat_id = moved.new_chat_id
                    self._lost()
                except BadRequest:
                    raise
                except (NetworkError, RetryAfter) as error:
                    _log.debug("result_delayed", reason=type(error).__name__)
                    await asyncio.sleep(pause)
        raise BadRequest("Telegram did not take it")

    async def _progress(self, view: View) -> None:
        try:
            await self._put(view, Urgency.PROGRESS)
        except MessageGone:
            self._lost()
        except ChatMigrated as moved:
            self.spot.chat_id = moved.new_chat_id
            self._lost()
        except Forbidden:
            self.blocked.set()
        except EditSkipped:
            self._edited_at = time.monotonic()
            self._wake.set()
        except (NetworkError, RetryAfter) as error:
            _log.debug("progress_not_shown", reason=type(error).__name__)

    async def _put(self, view: View, urgency: Urgency) -> Message | None:
        if self.spot.message_id is None and not await self._begin(view, urgency):
            return None
        if self._shown == view or self.spot.message_id is None:
            return None
        place = Place(self.spot.chat_id, self.spot.message_id, self.spot.holds_media)
        self._edited_at = time.monotonic()
        if view.media is not None:
            self._media_at = self._edited_at
        message = await self._editor.edit(place, view, urgency)
        self._shown = view
        if place.holds_media != self.spot.holds_media:
            self.spot.holds_media = place.holds_media
            self._record(self.spot)
        return message

    async def _begin(self, view: View, urgency: Urgency) -> bool:
        """Send the message, as a text: a picture is then put into it."""
        spot = self.spot
        if spot.unsure and await self._find():
            return True
        if spot.unsure and urgency is Urgency.PROGRESS:
            return False
        spot.unsure = True
        self._record(spot)
        text = replace(view, media=None)
        first = Urgency.REPLY if urgency is Urgency.PROGRESS else urgency
        try:
            sent = await self._editor.send(
                spot.chat_id, text, reply_to=spot.reply_to, silent=True, urgency=first
            )
        except TelegramError as error:
            spot.unsure = may_have_arrived(error)
            self._first, self._looked = view.keyboard, False
            self._record(spot)
            self._wake.set()
            raise
        spot.message_id, spot.unsure, self._shown = sent.message_id, False, text
        self._edited_at = time.monotonic()
        self._record(spot)
        return True

    async def _find(self) -> bool:
        """The message of unsure arrival is one of the next after the one it answers, or nowhere."""
        spot = self.spot
        if self._looked or spot.reply_to is None or not self._first:
            return False
        self._looked = True
        for message_id in range(spot.reply_to + 1, spot.reply_to + 1 + _NEXT):
            if self._taken(message_id):
                continue
            if await self._editor.has_keyboard(spot.chat_id, message_id, self._first):
                self.adopt(message_id)
                return True
        return False

    def _lost(self) -> None:
        """Somebody deleted the message: the next one is a new one."""
        self.spot.message_id, self.spot.holds_media, self._shown = None, False, None
        self.spot.unsure = self._looked = True
        self._record(self.spot)

    def _due(self, view: View) -> float:
        """When this may be shown, in monotonic seconds."""
        if self.spot.chat_id < 0:
            return max(self._edited_at, self._media_at) + _GROUP_GAP_S
        if view.media is not None:
            return max(self._edited_at + _TEXT_GAP_S, self._media_at + _MEDIA_GAP_S)
        return self._edited_at + _TEXT_GAP_S


def _pauses() -> Iterator[float]:
    for tries in range(_MOST_TRIES):
        yield min(_LONGEST_PAUSE_S, 0.5 * 2 ** min(tries, 10))
