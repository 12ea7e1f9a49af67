"""Updates between Telegram and the handlers: none lost to a `kill -9`, none handled twice.

Telegram forgets an update as soon as the next poll (or a 200 to the webhook) confirms it, and
serves some twice. So each is stored before it is confirmed, and its body cleared once the handler
and the background work it started are done.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable

import structlog
from telegram import Bot, Update
from telegram.error import TelegramError

from telegram_bot.storage.database import Database
from telegram_bot.storage.lenient import parsed
from telegram_bot.updates import is_unreadable, read

_MAX_TRIES = 3
_RETENTION_S = 2 * 86400.0
"""How long to remember an update's id: Telegram keeps updates for 24 h, then never serves them."""
log = structlog.get_logger("telegram_bot.storage.inbox")


class NotStored(TelegramError):
    """The disk refuses an update. A TelegramError, so that the poll is repeated after a pause."""


class Inbox(asyncio.Queue[object]):
    """The application's update queue, backed by the database."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._db = database
        self._held: set[int] = set()
        self._on_skip: Callable[[str], None] = lambda _: None

    def report_skips(self, on_skip: Callable[[str], None]) -> None:
        """Call `on_skip` with the reason for every update that is not handled."""
        self._on_skip = on_skip

    async def put(self, item: object) -> None:
        """Store and queue an update, unless its id was seen before.

        Raises:
            NotStored: It must not be confirmed: Telegram then serves it again.
        """
        if not isinstance(item, Update):
            await super().put(item)
            return
        unreadable = is_unreadable(item)
        body = None if unreadable else item.to_json()
        statement = "INSERT OR IGNORE INTO inbox (update_id, body, at) VALUES (?, ?, ?)"
        try:
            new = self._db.run(statement, item.update_id, body, time.time())
        except sqlite3.OperationalError as error:
            raise NotStored("the database cannot be written") from error
        if new and unreadable:
            self.skip(item.update_id, "unreadable")
        elif new:
            await super().put(item)

    def skip(self, update_id: int, reason: str) -> None:
        """Note that an update is never handled; its content is in no log."""
        log.warning("update_skipped", update_id=update_id, reason=reason)
        self._on_skip(reason)
        self.handled(update_id)

    def hold(self, update_id: int) -> None:
        """Keep an update whose handler started background work until `release`."""
        self._held.add(update_id)

    def release(self, update_id: int) -> None:
        self._held.discard(update_id)
        self.handled(update_id)

    def handled(self, update_id: int) -> None:
        if update_id not in self._held:
            self._db.note_down("UPDATE inbox SET body = NULL WHERE update_id = ?", update_id)

    async def resume(self, bot: Bot) -> None:
        """Queue again what a killed process had not handled.

        An update that was there at several crashes may be their cause: it is dropped.
        """
        self._db.note_down("UPDATE inbox SET tries = tries + 1 WHERE body IS NOT NULL")
        self._db.note_down("UPDATE inbox SET body = NULL WHERE tries > ?", _MAX_TRIES)
        self.forget_old()
        query = "SELECT update_id, body FROM inbox WHERE body IS NOT NULL ORDER BY update_id"
        for row in self._db.rows(query):
            update = read(parsed(row["body"]), bot)
            if update is None or is_unreadable(update):
                self.skip(row["update_id"], "unreadable")
            else:
                await super().put(update)

    def forget_old(self) -> None:
        self._db.note_down(
            "DELETE FROM inbox WHERE body IS NULL AND at < ?", time.time() - _RETENTION_S
        )
