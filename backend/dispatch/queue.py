"""The generations that have not ended, and the scheduler's view of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from uuid import UUID
from weakref import WeakValueDictionary

from backend.dispatch.active import ActiveGeneration
from backend.dispatch.pods import Pod
from backend.dispatch.turns import Turns, Waiter
from backend.scheduling.scheduler import Limits, QueueFull, Scheduler, UserBusy
from backend.scheduling.work import Stats
from backend.storage.generations import GenerationRow, Outcome
from gpu_server.schemas import State, Timings
from web.client import Photos
from web.errors import EaselError

_MAX_PAUSE_S = 1.0
"""Longest pause between two looks at pods and queue."""
_MIN_PAUSE_S = 0.01
_MANY_PHOTOS_S = 10.0
"""When to try again while too many photos wait for their turn."""


class GenerationQueue:
    """Keeps the scheduler and the active generations in step; decides nothing itself."""

    def __init__(self, limits: Limits) -> None:
        self.active: dict[UUID, ActiveGeneration] = {}
        """Those that wait for their turn included."""
        self.turns = Turns()
        self._scheduler = Scheduler(limits)
        self._entering = 0
        self._entrances: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._wake = asyncio.Event()

    @asynccontextmanager
    async def entrance(self, row: GenerationRow, *, may_wait: bool) -> AsyncIterator[bool]:
        """Hold a place in the queue; one caller per user at a time. Raises NoRoom.

        Yield whether the user has room; if not, call `wait_for_turn`, where the caller may wait.
        """
        async with self._entrances.setdefault(row.whose, asyncio.Lock()):
            now, ahead = time.monotonic(), len(self.turns.of(row.whose))
            entering = self._entering + len(self.turns)
            self._scheduler.check_queue(row.whose, now, ahead=ahead, entering=entering)
            has_room = True
            try:
                if row.user:
                    self._scheduler.check_user(row.whose, now, ahead)
            except UserBusy:
                if not may_wait:
                    raise
                has_room = False
            with self._one_more_entering():
                yield has_room

    @asynccontextmanager
    async def turn(self, user: str) -> AsyncIterator[Waiter | None]:
        """Hold the place of the user's first waiter, if it is their turn; as `entrance`."""
        async with self._entrances.setdefault(user, asyncio.Lock()):
            waiter = self.turns.first(user)
            try:
                self._scheduler.check_user(user, time.monotonic())
            except UserBusy:
                waiter = None
            if waiter is not None:
                self.turns.leave(waiter.active)
            with self._one_more_entering():
                yield waiter

    @contextmanager
    def _one_more_entering(self) -> Iterator[None]:
        self._entering += 1
        try:
            yield
        finally:
            self._entering -= 1

    def wait_for_turn(self, row: GenerationRow, photos: Photos) -> None:
        """Let it wait in its user's line. Raises QueueFull if the photos that wait are too many."""
        if not self.turns.has_room_for(photos):
            raise QueueFull("too many photos wait; try again later", _MANY_PHOTOS_S)
        active = self.active[row.id] = ActiveGeneration(row)
        active.wait_for_turn()
        self.turns.join(Waiter(active, photos))

    def enter(self, active: ActiveGeneration) -> None:
        """Add one that waited and is committed now."""
        active.begin_turn()
        self._scheduler.submit(active.work, time.monotonic())
        self._wake.set()

    def free_pod(self, row: GenerationRow) -> str | None:
        """Return the pod that will get this row if nobody else comes in between."""
        # Committed together with the row it saves a commit; any other is committed on its own.
        if self._entering > 1:
            return None
        return self._scheduler.idle_pod(row.style, row.model)

    def add(self, row: GenerationRow) -> ActiveGeneration:
        active = self.active[row.id] = ActiveGeneration(row)
        self._scheduler.submit(active.work, time.monotonic())
        return active

    def turn_away(self, active: ActiveGeneration, error: EaselError) -> None:
        """End one that waited and cannot be committed."""
        self.remove(active)
        if active.begin_closing():
            active.end(active.row.ended_with(Outcome.failed(error)))

    def adopt(self, row: GenerationRow, pod: str) -> ActiveGeneration:
        """Add a generation that may already be on this pod."""
        active = self.active[row.id] = ActiveGeneration(row)
        self.put_on(active, pod)
        return active

    def put_on(self, active: ActiveGeneration, pod: str) -> None:
        """Give it to this pod at once: the pod may have its job."""
        self._scheduler.adopt(active.work, pod, time.monotonic())

    def assignments(self) -> list[tuple[ActiveGeneration, str]]:
        now = time.monotonic()
        return [(self.active[a.id], a.pod_id) for a in self._scheduler.dispatch(now)]

    def began(self, active: ActiveGeneration) -> None:
        with suppress(KeyError):
            self._scheduler.started(active.row.id, time.monotonic())
        self._wake.set()

    def free(
        self, active: ActiveGeneration, timings: Timings | None = None, *, succeeded: bool = False
    ) -> None:
        """Free its place on the pod; it may happen twice. The estimates learn from `timings`."""
        gpu_s = timings.gpu_ms / 1000 if timings and timings.gpu_ms else None
        model_s = timings.model_ms / 1000 if timings else 0.0
        now = time.monotonic()
        self._scheduler.finished(active.row.id, now, gpu_s, model_s, succeeded=succeeded)
        self.turns.wake(active.row.whose)

    def withdraw(self, active: ActiveGeneration) -> None:
        """Take it out of the queue, or of those who wait for their turn, if it is there."""
        self.turns.leave(active)
        with suppress(KeyError):
            self._scheduler.cancel(active.row.id)
        self.turns.wake(active.row.whose)

    def requeue(self, active: ActiveGeneration, pod: str) -> None:
        """Put it back after an attempt on `pod`; another pod gets it if there is one."""
        # The database still names the old pod: after a crash that one is asked first.
        active.requeue()
        now = time.monotonic()
        try:
            self._scheduler.failed_on(active.row.id, pod, now)
        except KeyError:
            self._scheduler.submit(active.work, now)
        self._wake.set()

    def remove(self, active: ActiveGeneration) -> None:
        self.active.pop(active.row.id, None)

    def drop(self) -> None:
        """Release everyone who waits for an end."""
        for active in self.active.values():
            active.drop()

    def pod_changed(self, pod: Pod) -> None:
        if pod.in_service:
            self._scheduler.pod_up(pod.name, pod.styles, pod.loaded_model)
        else:
            with suppress(KeyError):
                self._scheduler.drain(pod.name)
        self._wake.set()

    def pod_lost(self, pod: Pod) -> list[ActiveGeneration]:
        """Take a lost pod out of the schedule. Return the generations on it."""
        self._scheduler.pod_down(pod.name, time.monotonic())
        return [active for active in self.active.values() if active.pod == pod.name]

    async def wait(self) -> None:
        """Wait until something happened, or may have: call `assignments` then."""
        now = time.monotonic()
        at = self._scheduler.wake_at(now)
        pause = _MAX_PAUSE_S if at is None else min(max(at - now, _MIN_PAUSE_S), _MAX_PAUSE_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._wake.wait()
        self._wake.clear()

    def place(self, active: ActiveGeneration) -> tuple[int | None, float | None]:
        """Return the position from 1 (None once on a pod) and the seconds until the images."""
        try:
            place = self._scheduler.position(active.row.id, time.monotonic())
        except KeyError:
            return None, None
        seconds = None if place.seconds is None else round(place.seconds, 1)
        return max(place.position, 1) if active.status is State.queued else None, seconds

    def stats(self) -> Stats:
        return self._scheduler.stats()

    def oldest_s(self) -> float:
        """Return the age of the oldest queued generation."""
        queued = [
            active.row.created
            for active in self.active.values()
            if active.status is State.queued and not self.turns.holds(active)
        ]
        return max(time.time() - min(queued), 0.0) if queued else 0.0
