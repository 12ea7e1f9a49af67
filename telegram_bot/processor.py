"""Handle the updates of one person in order, and those of different people at the same time."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable
from typing import Any

from telegram import Update
from telegram.ext import BaseUpdateProcessor

from telegram_bot.storage.inbox import Inbox

_MAX_CONCURRENT = 2000
_MAX_WAITING = 100
"""Updates of one person: more would keep those of everybody else from being handled."""


class PerPerson(BaseUpdateProcessor):
    """The application's processor. No handler waits for a generation, so no message waits long."""

    def __init__(self, inbox: Inbox) -> None:
        super().__init__(_MAX_CONCURRENT)
        self._inbox = inbox
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: Counter[int] = Counter()

    async def do_process_update(self, update: object, coroutine: Awaitable[Any]) -> None:
        """Run an update's handlers after the person's earlier updates, and mark it as handled."""
        user = update.effective_user if isinstance(update, Update) else None
        if user is None:
            await self._handle(update, coroutine)
            return
        if self._waiting[user.id] >= _MAX_WAITING:
            self._drop(update, coroutine)
            return
        self._waiting[user.id] += 1
        try:
            async with self._turns[user.id]:
                await self._handle(update, coroutine)
        finally:
            self._waiting[user.id] -= 1
            if not self._waiting[user.id]:
                del self._waiting[user.id], self._turns[user.id]

    async def _handle(self, update: object, coroutine: Awaitable[Any]) -> None:
        await coroutine
        if isinstance(update, Update):
            self._inbox.handled(update.update_id)

    def _drop(self, update: object, coroutine: Awaitable[Any]) -> None:
        if asyncio.iscoroutine(coroutine):
            coroutine.close()
        if isinstance(update, Update):
            self._inbox.skip(update.update_id, "too_many")

    async def initialize(self) -> None:
        """Open nothing; the base class requires the method."""

    async def shutdown(self) -> None:
        """Close nothing; the base class requires the method."""
