"""Faults ordered by a person or a test, and Telegram's flood limits when they are enabled."""

import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Literal

_CallFault = Literal["429", "502", "timeout", "401", "403", "photo_refused", "slow"]
_GroupFault = Literal["muted", "no_media"]
_UpdateFault = Literal["duplicate_update", "stale_update", "stale_callback"]
FaultName = _CallFault | _GroupFault | _UpdateFault
PRESS = "callback_query"
_ALL_CHATS = 0


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

    def matches(self, method: str, chat_id: int) -> bool:
        named = self.method.lower() == method.lower()
        wildcard = self.method == "*" and method not in ("getUpdates", PRESS)
        return (named or wildcard) and self.chat_id in (None, chat_id)


class Faults(deque[Fault]):
    """Pending faults, in the order in which they were ordered."""

    def take(self, method: str, chat_id: int) -> Fault | None:
        """Use up one occurrence of the first fault that matches this call."""
        for fault in self:
            if fault.matches(method, chat_id):
                fault.remaining -= 1
                if fault.remaining <= 0:
                    self.remove(fault)
                return fault
        return None


class FloodLimits:
    """Roughly Telegram's limits: 1/s per chat (in bursts), 20/min per group, 30/s overall."""

    def __init__(self) -> None:
        self._sent: defaultdict[int, deque[float]] = defaultdict(deque)

    def retry_after(self, chat_id: int) -> int | None:
        """Count a message to this chat; return the seconds to wait if it exceeds a limit."""
        now = time.monotonic()
        in_chat = (chat_id, 5, 5) if chat_id > 0 else (chat_id, 20, 60)
        for chat, limit, window_s in (in_chat, (_ALL_CHATS, 30, 1)):
            times = self._sent[chat]
            while times and times[0] <= now - window_s:
                times.popleft()
            if len(times) >= limit:
                return max(1, round(times[0] + window_s - now))
        self._sent[chat_id].append(now)
        self._sent[_ALL_CHATS].append(now)
        return None
