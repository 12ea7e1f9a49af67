"""Telegram's flood rules: results before replies before progress, each chat on its own.

The limits (1 message/s per chat with bursts, 20/min per group, about 30/s overall) are those of
Telegram's FAQ. Edits count too: their limits are undocumented.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from telegram.error import ChatMigrated, RetryAfter, TelegramError
from telegram.ext import BaseRateLimiter

Answer = bool | dict[str, Any] | list[dict[str, Any]]

_PACED = ("sendMessage", "sendPhoto", "sendDocument", "editMessage")
"""How the names of the limited methods begin."""

_MAX_FLOODS = 20
_MAX_CHATS = 2000


class Urgency(IntEnum):
    """The priority of a call. Progress never waits: it is skipped if it cannot be sent now."""

    RESULT = 1
    REPLY = 2
    BULK = 3
    PROGRESS = 4


class EditSkipped(TelegramError):
    """Progress was not sent: the chat, or the bot, is at its limit."""


@dataclass(eq=False)
class Window:
    """The calls of the last `seconds`; `shares` is how many each urgency may have among them."""

    seconds: float
    shares: Mapping[Urgency, int]
    sent: deque[float] = field(default_factory=deque)

    def wait(self, now: float, urgency: Urgency) -> float:
        """Return the seconds until one more may be sent; 0 if it may be now."""
        while self.sent and self.sent[0] <= now - self.seconds:
            self.sent.popleft()
        over = len(self.sent) - self.shares[urgency]
        return 0.0 if over < 0 else self.sent[over] + self.seconds - now


_U = Urgency
_PRIVATE = (5.0, {_U.RESULT: 5, _U.REPLY: 5, _U.BULK: 2, _U.PROGRESS: 3})
_GROUP = (60.0, {_U.RESULT: 20, _U.REPLY: 16, _U.BULK: 8, _U.PROGRESS: 8})
_OVERALL = (1.0, {_U.RESULT: 28, _U.REPLY: 24, _U.BULK: 12, _U.PROGRESS: 10})


class RateLimiter(BaseRateLimiter[Urgency]):
    """Lets calls wait their turn; after a 429 only that chat waits, and its progress is skipped.

    What is sent to a group that became a supergroup goes to its new id.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._overall = Window(*_OVERALL)
        self._chats: dict[int, Window] = {}
        self._paused: dict[int, float] = {}
        self._turns = {urgency: asyncio.Lock() for urgency in Urgency}

    async def initialize(self) -> None:
        """Open nothing; the base class requires the method."""

    async def shutdown(self) -> None:
        """Close nothing; the base class requires the method."""

    async def process_request(
        self,
        callback: Callable[..., Coroutine[Any, Any, Answer]],
        args: Any,
        kwargs: dict[str, Any],
        endpoint: str,
        data: dict[str, Any],
        rate_limit_args: Urgency | None,
    ) -> Answer:
        """Make a call of the Bot API when its chat and the bot as a whole may."""
        chat = data.get("chat_id")
        if not endpoint.startswith(_PACED) or not isinstance(chat, int):
            return await callback(*args, **kwargs)
        urgency = rate_limit_args or Urgency.REPLY
        for _ in range(_MAX_FLOODS):
            await self._wait_turn(chat, urgency)
            try:
                return await callback(*args, **kwargs)
            except ChatMigrated as moved:
                if not endpoint.startswith("send"):
                    raise  # the message to edit did not move with its group
                chat = data["chat_id"] = moved.new_chat_id
            except RetryAfter as flood:
                self._paused[chat] = self._clock() + _seconds(flood)
                if urgency is Urgency.PROGRESS:
                    raise EditSkipped("flooded") from flood
        return await callback(*args, **kwargs)

    async def resumed(self, chat: int) -> None:
        """Wait while a 429 closes this chat."""
        await self._wait(Urgency.RESULT, lambda now: self._paused.get(chat, 0.0) - now)

    async def _wait_turn(self, chat: int, urgency: Urgency) -> None:
        window = self._window(chat)
        await self._wait(
            urgency, lambda now: max(self._paused.get(chat, 0.0) - now, window.wait(now, urgency))
        )
        async with self._turns[urgency]:
            await self._wait(urgency, lambda now: self._overall.wait(now, urgency))
            now = self._clock()
            window.sent.append(now)
            self._overall.sent.append(now)

    async def _wait(self, urgency: Urgency, wait: Callable[[float], float]) -> None:
        while (seconds := wait(self._clock())) > 0:
            if urgency is Urgency.PROGRESS:
                raise EditSkipped("at the limit")
            await asyncio.sleep(seconds)

    def _window(self, chat: int) -> Window:
        if len(self._chats) > _MAX_CHATS:  # forget the quiet ones
            now, since = self._clock(), self._clock() - _GROUP[0]
            self._chats = {c: w for c, w in self._chats.items() if w.sent and w.sent[-1] > since}
            self._paused = {c: until for c, until in self._paused.items() if until > now}
        return self._chats.setdefault(chat, Window(*(_PRIVATE if chat > 0 else _GROUP)))


def _seconds(flood: RetryAfter) -> float:
    after = flood.retry_after
    return float(after) if isinstance(after, int) else after.total_seconds()
