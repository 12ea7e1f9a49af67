"""Throttle, then temporarily block, users who keep sending refused prompts.

Only the category and the time of a refusal are kept, never the prompt. Users without a name are
refused what the policy refuses and nothing more: a block would be for everybody behind their key.
"""

import time
from contextlib import suppress

import sqlalchemy as sa

from backend.limits.quotas import AHEAD_S
from backend.schemas import RefusalCount
from backend.storage.database import Database, DatabaseAway, refusals
from web.errors import RateLimited

SLOW_FROM = 5
"""Refusals within the window from which on each further one costs a pause, doubled each time."""
BLOCK_FROM = 12
"""Refusals within the window that block the user."""
BLOCK_S = 3600.0
"""How long a block lasts."""
_WINDOW_S = 3600.0
"""How long a refusal counts against its user."""
_SLOW_STEP_S = 20.0
"""The first pause."""
_MAX_COUNTED = 1000
"""Refusals of one user within the window that are counted; unnamed ones are never throttled."""
_KEEP_S = 30 * 86_400.0
"""How long operators can see a refusal."""


def pause_after(count: int) -> float:
    """Return the seconds to wait after the newest of `count` refusals within the window."""
    if count >= BLOCK_FROM:
        return BLOCK_S
    return _SLOW_STEP_S * 2 ** (count - SLOW_FROM) if count >= SLOW_FROM else 0.0


class Refusals:
    """Refused prompts; the last hour's are in memory, so that checking a request needs no I/O."""

    def __init__(self, database: Database, max_counted: int = _MAX_COUNTED) -> None:
        self._database = database
        self._max_counted = max_counted
        self._recent: dict[tuple[str, str], list[float]] = {}
        """Times on the monotonic clock, which setting the system's time does not move."""

    async def open(self) -> None:
        """Load the refusals from before a restart that still count."""
        now, steady = time.time(), time.monotonic()
        # Without those dated ahead, from a clock that was wrong: they would block for days.
        query = sa.select(refusals.c.owner, refusals.c.user, refusals.c.at).where(
            refusals.c.at > now - _WINDOW_S, refusals.c.at <= now + AHEAD_S
        )
        for owner, user, at in await self._database.run(lambda c: c.execute(query).all()):
            self._recent.setdefault((owner, user), []).append(steady - max(now - at, 0.0))

    def check(self, owner: str, user: str) -> None:
        """Raise RateLimited while a user is throttled or blocked."""
        if not user:
            return
        now = time.monotonic()
        times = [at for at in self._recent.get((owner, user), ()) if at > now - _WINDOW_S]
        left = max(times, default=0.0) + pause_after(len(times)) - now
        if left > 0:
            raise RateLimited(
                f"After {len(times)} refused requests, wait {_in_words(left)} before the next",
                retry_after=left,
            )

    async def note(self, owner: str, user: str, category: str) -> None:
        """Record that a request was refused, without its prompt."""
        now = time.monotonic()
        times = [at for at in self._recent.get((owner, user), ()) if at > now - _WINDOW_S]
        if len(times) >= self._max_counted:
            return
        self._recent[owner, user] = [*times, now]
        row = {"owner": owner, "user": user, "category": category, "at": time.time()}
        with suppress(DatabaseAway):  # it counts in memory all the same
            await self._database.run(lambda c: c.execute(refusals.insert().values(row)))

    async def counts(self, owner: str) -> list[RefusalCount]:
        """Return the refusals of the last 30 days by user and category, most first."""
        t = refusals.c
        number = sa.func.count().label("number")
        query = (
            sa.select(t.user, t.category, number, sa.func.max(t.at).label("newest"))
            .where(t.owner == owner)
            .group_by(t.user, t.category)
            .order_by(number.desc())
            .limit(200)
        )
        rows = await self._database.run(lambda c: c.execute(query).all())
        return [
            RefusalCount(user=user, category=category, count=count, newest=newest)
            for user, category, count, newest in rows
        ]

    async def forget(self, owner: str, user: str) -> None:
        """Delete a user's refusals, except those that still count: deleting must lift no block."""
        mine = (refusals.c.owner == owner) & (refusals.c.user == user)
        old = refusals.c.at < time.time() - _WINDOW_S
        await self._database.run(lambda c: c.execute(refusals.delete().where(mine, old)))

    async def expire(self, now: float) -> None:
        """Forget refusals that no longer count, and delete those nobody may see any longer."""
        since = time.monotonic() - _WINDOW_S
        self._recent = {
            user: counting
            for user, times in self._recent.items()
            if (counting := [at for at in times if at > since])
        }
        old = refusals.delete().where(refusals.c.at < now - _KEEP_S)
        await self._database.run(lambda c: c.execute(old))


def _in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
