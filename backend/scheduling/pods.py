"""What the scheduler knows of the pods."""

from dataclasses import dataclass, field

from backend.scheduling.fair_queue import Job

AHEAD = 1
"""Jobs a pod is given besides the one it runs, so that its GPU has no pause between two."""


@dataclass(slots=True)
class Pod:
    """`jobs[0]` runs, the next waits behind it; `in_service` pods are given work."""

    id: str
    styles: frozenset[str] = frozenset()
    loaded: str | None = None
    in_service: bool = False
    jobs: list[Job] = field(default_factory=list)

    @property
    def model(self) -> str | None:
        """The model loaded once everything given to the pod is done."""
        return self.jobs[-1].work.model if self.jobs else self.loaded

    def seconds_left(self, now: float) -> float:
        """Until it could begin another job. A job overdue by x is taken to need x more, so that
        nobody waits for a pod that hangs."""
        if not self.jobs:
            return 0.0
        running = self.jobs[0]
        ends_in = running.started + running.expected - now
        return abs(ends_in) + sum(job.expected for job in self.jobs[1:])

    def has_room(self, now: float, ahead_s: float) -> bool:
        if not self.in_service or len(self.jobs) > AHEAD:
            return False
        return not self.jobs or self.jobs[0].started + self.jobs[0].expected - now <= ahead_s


class Pods(dict[str, Pod]):
    """By their ids."""

    def in_service(self) -> list[Pod]:
        return [pod for pod in self.values() if pod.in_service]

    def having(self) -> dict[str, list[Pod]]:
        """Those in service by the model they have."""
        having: dict[str, list[Pod]] = {}
        for pod in self.in_service():
            if pod.model is not None:
                having.setdefault(pod.model, []).append(pod)
        return having
