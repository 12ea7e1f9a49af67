"""Faults ordered by a person or a test, and Telegram's flood limits when they are enabled."""

import time
from collections import deque
from dataclasses import dataclass
from typing import Literal

FaultName = Literal[
    "429",
    "502",
    "timeout",
    "401",
    "403",
    "photo_refused",
    "duplicate_update",
    "stale_update",
    "stale_callback",
    "slow",
]
PRESS = "callback_query"
_MAX_FAULTS = 100
_PER_CHAT_BURST = 5
_PER_GROUP_MINUTE = 20
_PER_SECOND = 30


@dataclass
class Fault:
    """One ordered fault.

    `method` is a Bot API method, "*" for any but getUpdates, or `PRESS` for a button press.
    `seconds` is the retry_after of 429 or the delay of `slow`.
    """

    method: str
    fault: FaultName
    remaining: int
    chat_id: int | None = None
    seconds: int = 3

    def matches(self, method: str, chat_id: int | None) -> bool:
        named = self.method.lower() == method.lower()
        wildcard = self.method == "*" and method not in ("getUpdates", PRESS)
        return (named or wildcard) and self.chat_id in (None, chat_id)


class Faults:
    """Pending faults, in the order in which they were ordered."""

    def __init__(self) -> None:
        self._pending: deque[Fault] = deque(maxlen=_MAX_FAULTS)

    def add(self, fault: Fault) -> None:
        self._pending.append(fault)

    def clear(self) -> None:
        self._pending.clear()

    def pending(self) -> list[Fault]:
        return list(self._pending)

    def take(self, method: str, chat_id: int | None) -> Fault | None:
        """Use up one occurrence of the first fault that matches this call."""
        for fault in self._pending:
            if fault.matches(method, chat_id):
                fault.remaining -= 1
                if fault.remaining <= 0:
                    self._pending.remove(fault)
                return fault
        return None


class FloodLimits:
    """Roughly Telegram's limits: 1/s per chat (in bursts), 20/min per group, 30/s overall."""

    def __init__(self) -> None:
        self._by_chat: dict[int, deque[float]] = {}
        self._all: deque[float] = deque()

    def retry_after(self, chat_id: int) -> int | None:
        """Count a message to this chat; return the seconds to wait if it exceeds a limit."""
        now = time.monotonic()
        limit, window = (
            (_PER_CHAT_BURST, float(_PER_CHAT_BURST)) if chat_id > 0 else (_PER_GROUP_MINUTE, 60.0)
        )
        sent = self._by_chat.setdefault(chat_id, deque())
        for times, span in ((sent, window), (self._all, 1.0)):
            while times and times[0] <= now - span:
                times.popleft()
        if len(sent) >= limit:
            return max(1, round(sent[0] + window - now))
        if len(self._all) >= _PER_SECOND:
            return 1
        sent.append(now)
        self._all.append(now)
        return None
