"""Updates between Telegram and the handlers: none lost to a `kill -9`, none handled twice.

Telegram forgets an update as soon as the next poll (or a 200 to the webhook) confirms it, and
serves some twice. So each is stored before it is confirmed, and its body cleared once the handler
and the background work it started are done.
"""

import asyncio
import json
import time

from telegram import Bot, Update

from telegram_bot.storage.database import Database

_MAX_TRIES = 3
_RETENTION_S = 2 * 86400.0
"""How long to remember an update's id: Telegram keeps updates for 24 h, then never serves them."""


class Inbox(asyncio.Queue[object]):
    """The application's update queue, backed by the database."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._db = database
        self._held: set[int] = set()

    async def put(self, item: object) -> None:
        """Store and queue an update, unless its id was seen before."""
        if isinstance(item, Update):
            values = (item.update_id, item.to_json(), time.time())
            statement = "INSERT OR IGNORE INTO inbox (update_id, body, at) VALUES (?, ?, ?)"
            if not self._db.run(statement, *values):
                return
        await super().put(item)

    def hold(self, update_id: int) -> None:
        """Keep an update whose handler started background work until `release`."""
        self._held.add(update_id)

    def release(self, update_id: int) -> None:
        self._held.discard(update_id)
        self.handled(update_id)

    def handled(self, update_id: int) -> None:
        if update_id not in self._held:
            self._db.run("UPDATE inbox SET body = NULL WHERE update_id = ?", update_id)

    async def resume(self, bot: Bot) -> None:
        """Queue again what a killed process had not handled.

        An update that was there at several crashes may be their cause: it is dropped.
        """
        self._db.run("UPDATE inbox SET tries = tries + 1 WHERE body IS NOT NULL")
        self._db.run("UPDATE inbox SET body = NULL WHERE tries > ?", _MAX_TRIES)
        self.forget_old()
        rows = self._db.rows("SELECT body FROM inbox WHERE body IS NOT NULL ORDER BY update_id")
        for row in rows:
            await super().put(Update.de_json(json.loads(row["body"]), bot))

    def forget_old(self) -> None:
        self._db.run("DELETE FROM inbox WHERE body IS NULL AND at < ?", time.time() - _RETENTION_S)
