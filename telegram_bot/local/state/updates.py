"""The bot's updates: kept until confirmed, handed out by long polling or by webhook."""

import asyncio
import math
import time
from collections import deque
from dataclasses import dataclass

from telegram_bot.local.errors import Conflict
from telegram_bot.local.formatting.entities import Json

_MAX_PENDING = 10_000
_POLL_GAP_S = 5.0
"""How long a bot still counts as online after its last poll."""
_OTHER_POLLER = (
    "terminated by other getUpdates request; make sure that only one bot instance is running"
)
_WEBHOOK_ACTIVE = (
    "can't use getUpdates method while webhook is active; use deleteWebhook to delete the "
    "webhook first"
)


@dataclass
class Webhook:
    url: str
    secret: str = ""
    last_error_date: int | None = None
    last_error_message: str = ""


class UpdateQueue:
    """Numbered updates, the oldest dropped beyond a bound; `allowed` is empty for all kinds."""

    def __init__(self, first_id: int) -> None:
        self._next_id = first_id
        self.pending: deque[Json] = deque(maxlen=_MAX_PENDING)
        self.allowed: list[str] = []
        self._poller: asyncio.Future[None] | None = None
        self._last_poll = -math.inf
        self._last_confirmed: Json | None = None
        self._duplicates = 0
        self._to_repeat: set[int] = set()
        self._repeated: deque[Json] = deque(maxlen=100)
        self.webhook: Webhook | None = None
        self.changed = asyncio.Event()

    @property
    def bot_online(self) -> bool:
        """Whether a bot polls, polled a moment ago, or has a webhook."""
        polled = self._poller is not None or time.monotonic() - self._last_poll < _POLL_GAP_S
        return polled or self.webhook is not None

    def put(self, kind: str, body: Json) -> None:
        """Queue an update unless the bot did not allow this kind."""
        if self.allowed and kind not in self.allowed:
            return
        update: Json = {"update_id": self._next_id, kind: body}
        self._next_id += 1
        self.pending.append(update)
        if self._duplicates:
            self._duplicates -= 1
            self._to_repeat.add(update["update_id"])
        self._wake()

    def duplicate_next(self, count: int) -> None:
        """Deliver each of the next `count` updates twice, under one id."""
        self._duplicates += count

    def repeat_last(self) -> bool:
        """Deliver the last confirmed update again; return False if there is none."""
        if self._last_confirmed is None:
            return False
        self._repeated.append(self._last_confirmed)
        self._wake()
        return True

    async def get(self, offset: int, limit: int, timeout_s: float) -> list[Json]:
        """Serve getUpdates: confirm below `offset`, wait up to `timeout_s`, end any other poll."""
        if self.webhook is not None:
            raise Conflict(_WEBHOOK_ACTIVE)
        self._last_poll = time.monotonic()
        self.end_poll(_OTHER_POLLER)
        self._confirm(offset)
        if not self.pending and not self._repeated and timeout_s > 0:
            await self._arrival(timeout_s)
        self._requeue_repeated()
        return list(self.pending)[:limit]

    def end_poll(self, reason: str) -> None:
        """End the open poll with 409."""
        if self._poller is not None and not self._poller.done():
            self._poller.set_exception(Conflict(reason))
        self._poller = None

    def release_poll(self) -> None:
        """Answer the open poll with what there is, before the server stops."""
        if self._poller is not None and not self._poller.done():
            self._poller.set_result(None)

    def first(self) -> Json | None:
        """Return the update that the webhook gets next."""
        self._requeue_repeated()
        return self.pending[0] if self.pending else None

    def confirm_first(self, update: Json) -> None:
        """Confirm an update that the webhook took, if it is still the first."""
        if self.pending and self.pending[0] is update:
            self._pop()

    async def _arrival(self, timeout_s: float) -> None:
        poller = asyncio.get_running_loop().create_future()
        self._poller = poller
        try:
            await asyncio.wait_for(poller, timeout_s)
        except TimeoutError:
            return
        finally:
            if self._poller is poller:
                self._poller = None
                self._last_poll = time.monotonic()

    def _confirm(self, offset: int) -> None:
        if offset < 0:
            while len(self.pending) > -offset:
                self.pending.popleft()
            return
        while self.pending and self.pending[0]["update_id"] < offset:
            self._pop()

    def _pop(self) -> None:
        update = self.pending.popleft()
        self._last_confirmed = update
        if update["update_id"] in self._to_repeat:
            self._to_repeat.discard(update["update_id"])
            self._repeated.append(update)

    def _requeue_repeated(self) -> None:
        while self._repeated:
            self.pending.appendleft(self._repeated.pop())

    def _wake(self) -> None:
        self.changed.set()
        self.release_poll()
