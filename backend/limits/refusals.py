"""Who keeps asking for what is refused is slowed down, then blocked for a while.

Only the category and the time of a refusal are kept, never the words.
"""

import time
from contextlib import suppress

import sqlalchemy as sa

from backend.schemas import RefusalCount
from backend.storage.database import Database, DatabaseAway, refusals
from web.errors import RateLimited

WINDOW_S = 3600.0
SLOW_FROM = 5
"""From so many refusals within the window on, each next one costs a growing pause."""
SLOW_STEP_S = 20.0
BLOCK_FROM = 12
BLOCK_S = 3600.0
KEEP_S = 30 * 86_400.0


def pause_after(count: int) -> float:
    """Seconds to wait after the newest of `count` refusals within the window."""
    if count >= BLOCK_FROM:
        return BLOCK_S
    return SLOW_STEP_S * 2 ** (count - SLOW_FROM) if count >= SLOW_FROM else 0.0


class Abuse:
    """The last hour's refusals are in memory, so that nobody waits for looking them up."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._recent: dict[tuple[str, str], list[float]] = {}

    async def open(self) -> None:
        """Know again what was refused before a restart."""
        query = sa.select(refusals.c.owner, refusals.c.user, refusals.c.at).where(
            refusals.c.at > time.time() - WINDOW_S
        )
        for owner, user, at in await self.database.run(lambda c: c.execute(query).all()):
            self._recent.setdefault((owner, user), []).append(at)

    def check(self, owner: str, user: str) -> None:
        """Raises RateLimited while a user is slowed down or blocked."""
        now = time.time()
        times = [at for at in self._recent.get((owner, user), ()) if at > now - WINDOW_S]
        if not times:
            return
        left = max(times) + pause_after(len(times)) - now
        if left > 0:
            raise RateLimited(
                f"After {len(times)} refused requests, wait {_spoken(left)} before the next",
                retry_after=left,
            )

    async def note(self, owner: str, user: str, category: str) -> None:
        """Remember that a request was refused, without its words."""
        now = time.time()
        self._recent.setdefault((owner, user), []).append(now)
        row = {"owner": owner, "user": user, "category": category, "at": now}
        with suppress(DatabaseAway):  # it counts here all the same
            await self.database.run(lambda c: c.execute(refusals.insert().values(row)))

    async def counts(self, owner: str) -> list[RefusalCount]:
        """Refusals of the last 30 days by user and category, most first."""
        t = refusals.c
        number = sa.func.count().label("number")
        query = (
            sa.select(t.user, t.category, number, sa.func.max(t.at).label("newest"))
            .where(t.owner == owner)
            .group_by(t.user, t.category)
            .order_by(number.desc())
            .limit(200)
        )
        rows = await self.database.run(lambda c: c.execute(query).all())
        return [
            RefusalCount(user=user, category=category, count=count, newest=newest)
            for user, category, count, newest in rows
        ]

    async def forget(self, owner: str, user: str) -> None:
        mine = (refusals.c.owner == owner) & (refusals.c.user == user)
        old = refusals.c.at < time.time() - WINDOW_S
        # What still slows them down stays for the hour, or deleting would lift a block.
        await self.database.run(lambda c: c.execute(refusals.delete().where(mine, old)))

    async def expire(self) -> None:
        """Forget what is over its time, here and in the database."""
        since = time.time() - WINDOW_S
        self._recent = {
            who: kept
            for who, times in self._recent.items()
            if (kept := [at for at in times if at > since])
        }
        old = refusals.delete().where(refusals.c.at < time.time() - KEEP_S)
        await self.database.run(lambda c: c.execute(old))


def _spoken(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
