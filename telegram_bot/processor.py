"""Updates of one person one after the other, of different people at the same time."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from telegram import Update
from telegram.ext import BaseUpdateProcessor

from telegram_bot.inbox import Inbox

_AT_ONCE = 2000


class PerPerson(BaseUpdateProcessor):
    """Handlers never wait for a generation, so a person's next message is never held up long."""

    def __init__(self, inbox: Inbox) -> None:
        super().__init__(_AT_ONCE)
        self._inbox = inbox
        self._last: dict[int, asyncio.Event] = {}

    async def do_process_update(self, update: object, coroutine: Awaitable[Any]) -> None:
        who = (
            update.effective_user.id if isinstance(update, Update) and update.effective_user else 0
        )
        before, done = self._last.get(who), asyncio.Event()
        self._last[who] = done
        try:
            if before is not None and who:
                await before.wait()
            await coroutine
            if isinstance(update, Update):
                self._inbox.handled(update.update_id)
        finally:
            done.set()
            if self._last.get(who) is done:
                del self._last[who]

    async def initialize(self) -> None:
        """Nothing to open."""

    async def shutdown(self) -> None:
        """Nothing to close."""
