"""The work that waits, and its moves between the users' queues and the open turn."""

from collections.abc import Iterable

from backend.scheduling.estimates import Estimates
from backend.scheduling.fair_queue import FairQueue, QueuedWork
from backend.scheduling.turn import Turn
from backend.scheduling.work import Limits


class Backlog:
    def __init__(self, estimates: Estimates, limits: Limits) -> None:
        self.queue = FairQueue(estimates)
        self.turn = Turn(estimates)
        self._limits = limits

    @property
    def size(self) -> int:
        return self.queue.waiting + self.turn.size

    def add(self, job: QueuedWork, now: float, pods: int) -> None:
        """Queue new work; `pods` is the number of pods in service."""
        if self.queue.add(job):
            self.turn.hurry(now, pods)

    def take(self, job: QueuedWork) -> None:
        """Take a job out for a pod, charged to its user."""
        if job.queued:
            self.queue.charge(job)
            self.queue.remove(job)
        else:
            self.turn.remove(job)
            self.queue.leave_turn(job)

    def withdraw(self, job: QueuedWork) -> None:
        """Take a job out, uncharged."""
        if job.queued:
            self.queue.remove(job)
        else:
            self.turn.remove(job)
            self.queue.settle(job, 0.0)
            self.queue.leave_turn(job)

    def put_back(self, jobs: list[QueuedWork], now: float) -> None:
        """Put jobs that a pod gave back first into the turn.

        Their turn had come and was charged, and stays so.
        """
        if jobs and not self.turn.size:
            self.turn.open(now, deadline=now)
        for job in reversed(jobs):
            job.returned = True
            if not job.cost:  # adopted after a restart, without a turn
                self.queue.charge(job)
            self.queue.enter_turn(job)
            self.turn.add(job, first=True)

    def requeue_unserved(self, styles: frozenset[str]) -> None:
        """Move jobs in the turn that are of none of these styles back to their queues, uncharged.

        They are charged when their turn comes again.
        """
        for job in self.turn.jobs():
            if job.work.style not in styles:
                self.withdraw(job)
                self.queue.add(job)

    def open_turn(self, now: float, pods: int, styles: Iterable[str]) -> None:
        """Fill the empty turn with the next stretch of the fair order that pods can serve."""
        kinds = [kind for kind in self.queue.kinds() if kind[0] in styles]
        if not kinds:
            return
        self.turn.open(now)

        def admit(job: QueuedWork) -> bool:
            if not self._limits.affinity and self.turn.size:
                return False
            if not self.turn.admits(job, self.queue.cost(job), pods):
                return False
            self.queue.charge(job)
            self.queue.remove(job)
            self.queue.enter_turn(job)
            self.turn.add(job)
            return True

        self.queue.deal(kinds, admit)
