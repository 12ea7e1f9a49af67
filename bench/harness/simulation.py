"""Pods in simulated time that draw what the real scheduler assigns them."""

import heapq
import itertools
import random
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from backend.scheduling.scheduler import Limits, Scheduler, Work

OPEN = Limits(queue=1_000_000, per_user=1_000_000)
"""Limits that nothing reaches."""

Arrival = tuple[float, Work]
"""When a user submits some work, in seconds."""


@dataclass(order=True)
class Event:
    when: float
    number: int
    happen: Callable[[], None] = field(compare=False)
    void: bool = field(default=False, compare=False)


@dataclass
class Result:
    """What happened; a wait lasts from submission until the GPU draws, with the model loaded."""

    waits: dict[UUID, float] = field(default_factory=dict)
    users: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    changes: int = 0
    busy_s: float = 0.0
    loading_s: float = 0.0
    end: float = 0.0
    lost: int = 0
    twice: int = 0


class Simulation:
    """Pods that run their assignments in order and load a model when it changes; runs once.

    Args:
        pods: Number of pods.
        styles: Styles that every pod serves.
        seconds: How long an image takes to draw with its model loaded.
        load_s: How long a model takes to load.
        limits: Limits of the scheduler.
        again: The next request of a user who was just served, and when it comes.
        death_every_s: Interval at which a pod dies; 0 for never.
    """

    def __init__(
        self,
        pods: int,
        styles: list[str],
        seconds: Callable[[Work], float],
        load_s: float,
        limits: Limits = OPEN,
        again: Callable[[Work, float], Arrival | None] = lambda _work, _now: None,
        death_every_s: float = 0.0,
    ) -> None:
        self.styles, self.seconds, self.load_s = styles, seconds, load_s
        self.again, self.death_every_s = again, death_every_s
        self.scheduler, self.result, self.rng = Scheduler(limits), Result(), random.Random(7)
        self.now, self.waking = 0.0, -1.0
        self.events: list[Event] = []
        self.count = itertools.count()
        self.works: dict[UUID, Arrival] = {}
        self.done: set[UUID] = set()
        self.queues: dict[str, deque[UUID]] = {f"pod{i}": deque() for i in range(pods)}
        self.drawing: dict[str, Event] = {}
        self.loaded: dict[str, str] = {}

    def run(self, arrivals: list[Arrival]) -> Result:
        for pod in self.queues:
            self.scheduler.pod_up(pod, self.styles)
        for arrival in arrivals:
            self._schedule(arrival)
        if self.death_every_s:
            self._at(self.death_every_s, self._die)
        while self.events:
            event = heapq.heappop(self.events)
            if not event.void:
                self.now = event.when
                event.happen()
                self._dispatch()
        for id_, (_, work) in self.works.items():
            if id_ in self.result.waits:
                self.result.users[work.user].append(self.result.waits[id_])
        self.result.lost = len(self.works) - len(self.done)
        return self.result

    def _at(self, when: float, happen: Callable[[], None]) -> Event:
        event = Event(when, next(self.count), happen)
        heapq.heappush(self.events, event)
        return event

    def _schedule(self, arrival: Arrival) -> None:
        self._at(arrival[0], partial(self._submit, arrival[1]))

    def _submit(self, work: Work) -> None:
        self.works[work.id] = (self.now, work)
        self.scheduler.submit(work, self.now)

    def _dispatch(self) -> None:
        for assignment in self.scheduler.dispatch(self.now):
            queue = self.queues[assignment.pod_id]
            queue.append(assignment.id)
            if len(queue) == 1:
                self._begin(assignment.pod_id)
        wake = self.scheduler.wake_at(self.now)
        if wake is not None and not self.now < self.waking <= wake:
            self.waking = max(wake, self.now + 1e-3)
            self._at(self.waking, lambda: None)

    def _begin(self, pod: str) -> None:
        submitted, work = self.works[self.queues[pod][0]]
        load = self.load_s if self.loaded.get(pod) != work.model else 0.0
        self.result.changes += bool(load)
        self.loaded[pod] = work.model
        gpu = self.seconds(work)
        self.scheduler.started(work.id, self.now)
        self.result.waits[work.id] = self.now + load - submitted
        ends = self.now + load + gpu
        self.drawing[pod] = self._at(ends, partial(self._finish, pod, gpu, load))

    def _finish(self, pod: str, gpu: float, load: float) -> None:
        id_ = self.queues[pod].popleft()
        self.result.twice += id_ in self.done
        self.done.add(id_)
        self.scheduler.finished(id_, self.now, gpu, load)
        self.result.busy_s += gpu
        self.result.loading_s += load
        self.result.end = self.now
        if self.queues[pod]:
            self._begin(pod)
        if following := self.again(self.works[id_][1], self.now):
            self._schedule(following)

    def _die(self) -> None:
        pod = self.rng.choice(list(self.queues))
        self.queues[pod].clear()
        self.loaded.pop(pod, None)
        if pod in self.drawing:
            self.drawing.pop(pod).void = True
        self.scheduler.pod_down(pod, self.now)
        self._at(self.now + 10.0, partial(self._revive, pod))
        if len(self.done) < len(self.works):
            self._at(self.now + self.death_every_s, self._die)

    def _revive(self, pod: str) -> None:
        self.scheduler.pod_up(pod, self.styles)


def first_come(arrivals: list[Arrival], pods: int, gpu_s: float, load_s: float) -> int:
    """Count the model changes when each pod takes the oldest job, whatever its model."""
    free = [(0.0, i) for i in range(pods)]
    loaded: dict[int, str] = {}
    changes = 0
    for when, work in sorted(arrivals, key=lambda a: a[0]):
        at, pod = heapq.heappop(free)
        change = loaded.get(pod) != work.model
        changes += change
        loaded[pod] = work.model
        heapq.heappush(free, (max(at, when) + gpu_s + load_s * change, pod))
    return changes
