"""The bot's updates: kept until confirmed, handed out by long polling or by webhook."""

import asyncio
import math
import time
from collections import deque
from dataclasses import dataclass

from telegram_bot.local.errors import BadRequestError, ConflictError
from telegram_bot.local.formatting.entities import Json

MAX_PENDING = 10_000
_POLL_GAP_S = 5.0
_OTHER_POLLER = (
    "terminated by other getUpdates request; make sure that only one bot instance is running"
)
_WEBHOOK_ACTIVE = (
    "can't use getUpdates method while webhook is active; use deleteWebhook to delete the "
    "webhook first"
)
_NOT_BY_DEFAULT = frozenset({"chat_member", "message_reaction", "message_reaction_count"})


@dataclass
class Webhook:
    url: str
    secret: str = ""
    max_connections: int = 40
    last_error_date: int | None = None
    last_error_message: str = ""


class UpdateQueue:
    """Numbered updates, the oldest dropped beyond `MAX_PENDING`."""

    def __init__(self, first_id: int) -> None:
        self._next_id = first_id
        self._pending: deque[Json] = deque(maxlen=MAX_PENDING)
        self._allowed: frozenset[str] | None = None
        self._poller: asyncio.Future[None] | None = None
        self._last_confirmed: Json | None = None
        self._duplicates = 0
        self._twice: set[int] = set()
        self._again: deque[Json] = deque(maxlen=100)
        self._last_poll = -math.inf
        self.webhook: Webhook | None = None
        self.changed = asyncio.Event()

    @property
    def pending_count(self) -> int:
        return len(self._pending)

    @property
    def listening(self) -> bool:
        """Whether a bot seems to be there: it polls, polled just now, or has a webhook."""
        polled = self._poller is not None or time.monotonic() - self._last_poll < _POLL_GAP_S
        return polled or self.webhook is not None

    @property
    def allowed(self) -> list[str]:
        return sorted(self._allowed or ())

    def put(self, kind: str, body: Json) -> None:
        """Queues an update of this kind unless the bot did not ask for it."""
        wanted = kind in self._allowed if self._allowed else kind not in _NOT_BY_DEFAULT
        if not wanted:
            return
        update: Json = {"update_id": self._next_id, kind: body}
        self._next_id += 1
        self._pending.append(update)
        if self._duplicates:
            self._duplicates -= 1
            self._twice.add(update["update_id"])
        self._wake()

    def duplicate_next(self, count: int) -> None:
        """The next `count` updates will each be delivered twice, under one id."""
        self._duplicates += count

    def repeat_last(self) -> bool:
        """Delivers the last confirmed update again; False when there is none."""
        if self._last_confirmed is None:
            return False
        self._again.append(self._last_confirmed)
        self._wake()
        return True

    def drop_pending(self) -> None:
        self._pending.clear()

    def allow(self, kinds: list[str] | None) -> None:
        """Which kinds to queue from now on; None leaves it as it was, [] is the default."""
        if kinds is not None:
            self._allowed = frozenset(kinds) or None

    async def get(self, offset: int, limit: int, timeout_s: float) -> list[Json]:
        """getUpdates: confirms below `offset`, waits up to `timeout_s`, ends any other poll."""
        if self.webhook is not None:
            raise ConflictError(_WEBHOOK_ACTIVE)
        self._last_poll = time.monotonic()
        self.end_poll(_OTHER_POLLER)
        self._confirm(offset)
        if not self._pending and not self._again and timeout_s > 0:
            await self._arrival(timeout_s)
        self._bring_back()
        return list(self._pending)[:limit]

    def _bring_back(self) -> None:
        while self._again:
            self._pending.appendleft(self._again.pop())

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

    def end_poll(self, reason: str) -> None:
        """Ends the poll that waits now with 409."""
        if self._poller is not None and not self._poller.done():
            self._poller.set_exception(ConflictError(reason))
        self._poller = None

    def release_poll(self) -> None:
        """Answers the poll that waits now with nothing: the server is going away."""
        if self._poller is not None and not self._poller.done():
            self._poller.set_result(None)

    def _confirm(self, offset: int) -> None:
        if offset < 0:
            while len(self._pending) > -offset:
                self._pending.popleft()
            return
        while self._pending and self._pending[0]["update_id"] < offset:
            self._pop()

    def _pop(self) -> None:
        update = self._pending.popleft()
        self._last_confirmed = update
        if update["update_id"] in self._twice:
            self._twice.discard(update["update_id"])
            self._again.append(update)

    def first(self) -> Json | None:
        """For the webhook: the update to deliver next."""
        self._bring_back()
        return self._pending[0] if self._pending else None

    def delivered(self, update: Json) -> None:
        """For the webhook: this update was taken."""
        if self._pending and self._pending[0] is update:
            self._pop()

    def _wake(self) -> None:
        self.changed.set()
        if self._poller is not None and not self._poller.done():
            self._poller.set_result(None)


def checked_secret(secret: str) -> str:
    if len(secret) > 256:
        raise BadRequestError("secret token is too long")
    if not all(c.isascii() and (c.isalnum() or c in "-_") for c in secret):
        raise BadRequestError("secret token contains unallowed characters")
    return secret
