"""What goes into the scheduler and what comes out of it."""

import math
from dataclasses import dataclass
from uuid import UUID

Kind = tuple[str, str]
"""A style and the model it needs: work of one kind is interchangeable to a pod."""


@dataclass(frozen=True, slots=True)
class Work:
    """One generation to be scheduled.

    `size` is relative work within a style (megapixels x steps, > 0). `priority` orders the
    generations of one user, higher first; it never moves one past another user's.
    """

    id: UUID
    user: str
    style: str
    model: str
    size: float = 1.0
    priority: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.size) and self.size > 0):
            raise ValueError(f"size is {self.size}; it must be a finite number above 0")

    @property
    def kind(self) -> Kind:
        return self.style, self.model


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on accepted, unfinished work, and the estimates to use before any are learnt.

    A pod gets its next job when the running one is expected to end within `ahead_s` seconds.
    `affinity=False` is plain deficit round robin, which the benchmark compares with.
    """

    queue: int = 1000
    per_user: int = 4  # of a user with a name
    ahead_s: float = 1.0
    job_s: float = 5.0
    load_s: float = 5.0
    affinity: bool = True

    @property
    def share(self) -> int:
        """What one user may hold of the queue: half of it stays for everybody else."""
        return max(self.queue // 2, self.per_user)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Run this work on this pod now, or right after the job that the pod is running."""

    id: UUID
    pod_id: str


@dataclass(frozen=True, slots=True)
class QueuePosition:
    position: int  # 0 on a pod, 1 for the next in the queue
    seconds: float | None  # until its images are expected; None while no pod can run it


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of the moment; `model_changes` counts the assignments that made a pod load a model."""

    waiting: int
    on_pods: int
    users: int
    model_changes: int


class NoRoom(Exception):
    """There is no room for one more; `retry_after` seconds from now there may be some."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UserBusy(NoRoom):
    """The user has as many unfinished generations as one user may have."""


class QueueFull(NoRoom):
    """The whole queue is full."""
