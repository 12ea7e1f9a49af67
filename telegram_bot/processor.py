"""Updates of one person one after the other, of different people at the same time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import structlog
from telegram import Update
from telegram.ext import BaseUpdateProcessor

from telegram_bot.storage.inbox import Inbox

_AT_ONCE = 2000
_MOST_WAITING = 100
"""Of one person: more would keep everybody else's from being handled."""

_log = structlog.get_logger("telegram_bot.processor")


class PerPerson(BaseUpdateProcessor):
    """Handlers never wait for a generation, so a person's next message is never held up long."""

    def __init__(self, inbox: Inbox) -> None:
        super().__init__(_AT_ONCE)
        self._inbox = inbox
        self._last: dict[int, asyncio.Event] = {}
        self._waiting: Counter[int] = Counter()

    async def do_process_update(self, update: object, coroutine: Awaitable[Any]) -> None:
        who = (
            update.effective_user.id if isinstance(update, Update) and update.effective_user else 0
        )
        if who and self._waiting[who] >= _MOST_WAITING:
            self._drop(update, coroutine)
            return
        before, done = self._last.get(who), asyncio.Event()
        self._last[who] = done
        self._waiting[who] += 1
        try:
            if before is not None and who:
                await before.wait()
            await coroutine
            if isinstance(update, Update):
                self._inbox.handled(update.update_id)
        finally:
            done.set()
            self._waiting[who] -= 1
            if not self._waiting[who]:
                del self._waiting[who]
            if self._last.get(who) is done:
                del self._last[who]

    def _drop(self, update: object, coroutine: Awaitable[Any]) -> None:
        _log.warning("too_many_updates_of_one_person")
        if asyncio.iscoroutine(coroutine):
            coroutine.close()
        if isinstance(update, Update):
            self._inbox.handled(update.update_id)

    async def initialize(self) -> None:
        """Nothing to open."""

    async def shutdown(self) -> None:
        """Nothing to close."""
