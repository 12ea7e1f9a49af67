"""Callers who wait for their turn: their user has as many generations unfinished as one may have.

They wait for the pictures anyway, so they wait here instead of being refused. Nothing of theirs is
accepted yet: nothing is committed, and a restart forgets them together with their connections.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

from backend.dispatch.active import ActiveGeneration
from backend.storage.generations import GenerationRow
from web.client import Photos

MAX_PHOTO_BYTES = 100_000_000
"""Bytes of all photos that wait, at most: they stay in memory, in base64 in their requests too."""


@dataclass(frozen=True, eq=False)
class Waiter:
    active: ActiveGeneration
    photos: Photos

    @property
    def row(self) -> GenerationRow:
        return self.active.row


class Turns:
    """A line for each user with waiters, first come, first served. A place freed wakes one line."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[UUID, Waiter]] = {}
        self._photo_bytes = 0
        self._size = 0
        self._woken: set[str] = set()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return self._size

    def of(self, user: str) -> list[Waiter]:
        return list(self._lines.get(user, {}).values())

    def first(self, user: str) -> Waiter | None:
        return next(iter(self._lines.get(user, {}).values()), None)

    def with_key(self, owner: str, key: str) -> GenerationRow | None:
        """Return what waits under this idempotency key."""
        rows = (waiter.row for waiter in self._all())
        return next((r for r in rows if (r.owner, r.idempotency_key) == (owner, key)), None)

    def holds(self, active: ActiveGeneration) -> bool:
        return active.row.id in self._lines.get(active.row.whose, {})

    def has_room_for(self, photos: Photos) -> bool:
        return self._photo_bytes + sum(map(len, photos.values())) <= MAX_PHOTO_BYTES

    def join(self, waiter: Waiter) -> None:
        user = waiter.row.whose
        self._lines.setdefault(user, {})[waiter.row.id] = waiter
        self._count(waiter, 1)
        self.wake(user)  # a place may have been freed since there was none

    def leave(self, active: ActiveGeneration) -> None:
        """Take it out, if it waits."""
        line = self._lines.get(active.row.whose, {})
        waiter = line.pop(active.row.id, None)
        if waiter is not None:
            self._count(waiter, -1)
            if not line:
                del self._lines[active.row.whose]

    def wake(self, user: str) -> None:
        """Note that there may be room for one more of a user."""
        if user in self._lines:
            self._woken.add(user)
            self._wake.set()

    async def run(self, let_in: Callable[[str], Awaitable[None]]) -> None:
        """Call `let_in` with each user that was woken, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for user in self._woken:
                    tasks.create_task(_run(let_in, user))
                self._woken = set()

    def _all(self) -> Iterator[Waiter]:
        return (waiter for line in self._lines.values() for waiter in line.values())

    def _count(self, waiter: Waiter, number: int) -> None:
        self._size += number
        self._photo_bytes += number * sum(map(len, waiter.photos.values()))


async def _run(let_in: Callable[[str], Awaitable[None]], user: str) -> None:
    await let_in(user)
