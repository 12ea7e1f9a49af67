"""What goes into the scheduler and what comes out of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

Kind = tuple[str, str]
"""A style and the model it needs: jobs of one kind are interchangeable to a pod."""


@dataclass(frozen=True, slots=True)
class Work:
    """One generation to be scheduled.

    `size` is relative work within a style (megapixels x steps, > 0). `priority` orders a user's
    own jobs, higher first; it never moves a job past another user's.
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
    """Bounds on accepted and unfinished work, and what is assumed before anything is learnt.

    A pod is given its next job when the running one is expected to end within `ahead_s` seconds.
    `affinity=False` is plain deficit round robin: the yardstick of the benchmark.
    """

    queue: int = 1000
    per_user: int = 4
    ahead_s: float = 1.0
    job_s: float = 5.0
    load_s: float = 5.0
    affinity: bool = True


@dataclass(frozen=True, slots=True)
class Assignment:
    """Run this job on this pod now (or next, behind the job it is running)."""

    id: UUID
    pod_id: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job stands: 0 once it is on a pod, else 1 for the next in line.

    `seconds` until its pictures are expected; None while no pod can run it.
    """

    position: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class PodStats:
    in_service: bool
    loaded_model: str | None
    jobs: int
    speed: float
    """Its time for a job against the average of all pods: 2.0 takes twice as long."""


@dataclass(frozen=True, slots=True)
class Stats:
    """`model_changes` counts the assignments that make a pod load another model."""

    waiting: int
    on_pods: int
    users: int
    model_changes: int
    pods: Mapping[str, PodStats]


class Refused(Exception):
    """Not accepted for lack of room; `retry_after` seconds from now there may be some."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UserBusy(Refused):
    """The user has as many unfinished generations as one user may have."""


class QueueFull(Refused):
    """The whole queue is full."""

    code = "queue_full"
