"""The jobs whose turn it is: among them pods choose by model, and nobody waits twice their due.

A turn is a stretch of the fair order. Plain deficit round robin (DRR) would begin its i-th job
after `start_i` more seconds (the work before it, model changes included, over the pods). The
stretch ends before a job whose `start` would make max(start) > waited_i + 2 * start_i for any
member. So if the last begins by that deadline, then in whatever order the pods choose, each has
waited at most waited_i + deadline <= 2 * (waited_i + start_i): twice its wait under DRR. Time that
choosing saves before the deadline may be spent on jobs beyond the turn for a loaded model.
"""

import math
from collections import deque
from collections.abc import Callable

from backend.scheduling.estimates import Estimates
from backend.scheduling.fair_queue import QueuedWork
from backend.scheduling.work import Kind


class Turn:
    def __init__(self, estimates: Estimates) -> None:
        self._estimates = estimates
        self.kinds: dict[Kind, deque[QueuedWork]] = {}
        self.seconds: dict[str, float] = {}
        self.deadline = math.inf
        self.size = 0
        self._opened = 0.0
        self._pure = 0.0
        self._last_model: str | None = None
        self._bound = math.inf

    def open(self, now: float, *, deadline: float = math.inf) -> None:
        self._opened, self._pure, self._bound = now, 0.0, math.inf
        self._last_model = None
        self.deadline = deadline

    def admits(self, job: QueuedWork, cost: float, pods: int) -> bool:
        """Return whether the stretch may go on with this job; if so, keep its bound."""
        model = job.work.model
        changed = self._last_model is not None and model != self._last_model
        start = (self._pure + (self._estimates.load(model) if changed else 0.0)) / pods
        bound = min(self._bound, self._opened - job.submitted + 2 * start)
        if self.size and start > bound:
            return False
        self._bound = bound
        self._pure = start * pods + cost
        self._last_model = model
        self.deadline = self._opened + bound
        return True

    def hurry(self, now: float, pods: int) -> None:
        """Shorten the deadline to what DRR would need, as a new user waits for the next turn."""
        if self.size:
            left = sum(self.seconds.values()) + sum(map(self._estimates.load, self.models()))
            self.deadline = min(self.deadline, now + left / max(pods, 1))

    def models(self) -> set[str]:
        return {model for _, model in self.kinds}

    def add(self, job: QueuedWork, *, first: bool = False) -> None:
        jobs = self.kinds.setdefault(job.work.kind, deque())
        (jobs.appendleft if first else jobs.append)(job)
        self.seconds[job.work.model] = self.seconds.get(job.work.model, 0.0) + job.cost
        self.size += 1

    def remove(self, job: QueuedWork) -> None:
        kind = job.work.kind
        self.kinds[kind].remove(job)
        if not self.kinds[kind]:
            del self.kinds[kind]
        self.size -= 1
        self.seconds[job.work.model] -= job.cost
        if job.work.model not in self.models():
            del self.seconds[job.work.model]

    def first(self, kinds: list[Kind], allowed: Callable[[QueuedWork], bool]) -> QueuedWork | None:
        """Return the allowed job of these kinds that has waited longest."""
        heads = (next(filter(allowed, self.kinds.get(kind, ())), None) for kind in kinds)
        return min((j for j in heads if j), key=lambda j: (not j.returned, j.number), default=None)

    def jobs(self) -> list[QueuedWork]:
        return [job for jobs in self.kinds.values() for job in jobs]
