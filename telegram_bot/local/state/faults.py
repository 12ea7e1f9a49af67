"""Faults a person or a test orders, and Telegram's flood limits when they are switched on."""

import time
from collections import deque
from collections.abc import Callable
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
MAX_FAULTS = 100
PRESS = "callback_query"
_PER_CHAT_BURST = 5
_PER_GROUP_MINUTE = 20
_PER_SECOND = 30


@dataclass
class Fault:
    """`method` "*" is any but getUpdates; `seconds` is retry_after, or the delay of `slow`.

    A press of a button counts as a call of `PRESS`.
    """

    method: str
    fault: FaultName
    remaining: int
    chat_id: int | None = None
    seconds: int = 3

    def concerns(self, method: str, chat_id: int | None) -> bool:
        named = self.method.lower() == method.lower()
        anything = self.method == "*" and method not in ("getUpdates", PRESS)
        return (named or anything) and self.chat_id in (None, chat_id)


class Faults:
    """The faults still to come, in the order they were asked for."""

    def __init__(self) -> None:
        self._waiting: deque[Fault] = deque(maxlen=MAX_FAULTS)

    def add(self, fault: Fault) -> None:
        self._waiting.append(fault)

    def clear(self) -> None:
        self._waiting.clear()

    def waiting(self) -> list[Fault]:
        return list(self._waiting)

    def take(self, method: str, chat_id: int | None) -> Fault | None:
        """The fault that strikes this call, used up by one."""
        for fault in self._waiting:
            if fault.concerns(method, chat_id):
                fault.remaining -= 1
                if fault.remaining <= 0:
                    self._waiting.remove(fault)
                return fault
        return None


class FloodLimits:
    """About what Telegram tolerates: 1/s per chat (in bursts), 20/min per group, 30/s overall."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sent: dict[int, deque[float]] = {}
        self._all: deque[float] = deque()

    def retry_after(self, chat_id: int) -> int | None:
        """Counts a message to this chat; seconds to wait when it is one too many."""
        now = self._clock()
        limit, window = (
            (_PER_CHAT_BURST, float(_PER_CHAT_BURST)) if chat_id > 0 else (_PER_GROUP_MINUTE, 60.0)
        )
        sent = self._sent.setdefault(chat_id, deque())
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
