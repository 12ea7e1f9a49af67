"""What the scheduler knows of the pods."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from backend.scheduling.estimates import Estimates
from backend.scheduling.fair_queue import QueuedWork

JOBS_PER_POD = 2
"""The most jobs to give a pod: one to run and one ahead, so that its GPU never pauses between two.

The scheduler's own choice: a pod's `capacity` is its own bound, on the prompts in ComfyUI, and may
be higher. Whatever is assigned ahead has left the fair order, so one is enough.
"""


@dataclass(slots=True)
class Pod:
    """`jobs[0]` runs, the next waits behind it; only pods that are `in_service` get more work."""

    id: str
    styles: frozenset[str] = frozenset()
    loaded: str | None = None
    in_service: bool = False
    jobs: list[QueuedWork] = field(default_factory=list)

    def serve(self, styles: Iterable[str], loaded: str | None) -> None:
        self.styles, self.in_service = frozenset(styles), True
        self.loaded = loaded or self.loaded

    @property
    def model(self) -> str | None:
        """The model that will be loaded once the pod's jobs are done."""
        return self.jobs[-1].work.model if self.jobs else self.loaded

    def runs_until(self) -> float:
        """Return when the running job is expected to end."""
        return self.jobs[0].started + self.jobs[0].expected

    def seconds_left(self, now: float) -> float:
        """Return the seconds until the pod could begin another job."""
        return self.seconds_until_done(self.jobs[-1], now) if self.jobs else 0.0

    def seconds_until_done(self, job: QueuedWork, now: float) -> float:
        """Return the seconds until one of its jobs is expected to be done."""
        # A running job overdue by x is taken to need x more, so that nobody waits for a hung pod.
        later = self.jobs[1 : self.jobs.index(job) + 1]
        return abs(self.runs_until() - now) + sum(other.expected for other in later)

    def has_room(self, now: float, ahead_s: float) -> bool:
        if not self.in_service or len(self.jobs) >= JOBS_PER_POD:
            return False
        return not self.jobs or self.runs_until() - now <= ahead_s

    def assign(self, job: QueuedWork, now: float, estimates: Estimates) -> None:
        job.loads = self.model != job.work.model
        load = estimates.load(job.work.model) if job.loads else 0.0
        job.expected = estimates.job(job.cost_key) * estimates.speed(self.id) + load
        job.pod_id, job.started = self.id, now
        self.jobs.append(job)

    def release(self, job: QueuedWork, now: float) -> None:
        """Take a job off; when it was the running one, the next begins."""
        if self.jobs[0] is job:
            self.loaded = job.work.model
            for following in self.jobs[1:2]:
                following.started = now
        self.jobs.remove(job)
        job.pod_id = None

    def release_all(self) -> list[QueuedWork]:
        """Take every job off, because the pod is gone, and return them in order."""
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            job.pod_id = None
        return jobs


class Pods(dict[str, Pod]):
    def known(self, pod_id: str) -> Pod:
        """Return the pod, registering it when it is new."""
        return self.setdefault(pod_id, Pod(pod_id))

    def in_service(self) -> list[Pod]:
        return [pod for pod in self.values() if pod.in_service]

    def styles(self) -> frozenset[str]:
        return frozenset().union(*(pod.styles for pod in self.in_service()))

    def having(self) -> dict[str, list[Pod]]:
        """Group the pods in service by the model they have."""
        having: dict[str, list[Pod]] = {}
        for pod in self.in_service():
            if pod.model is not None:
                having.setdefault(pod.model, []).append(pod)
        return having

    def with_room(self, now: float, ahead_s: float) -> list[Pod]:
        """List the pods that can take another job; those that could begin it soonest come first."""
        pods = [pod for pod in self.values() if pod.has_room(now, ahead_s)]
        return sorted(pods, key=lambda pod: pod.seconds_left(now))

    def next_room_at(self, now: float, ahead_s: float) -> float | None:
        """Return when a pod in service will have room because its running job nears its end."""
        times = [pod.runs_until() - ahead_s for pod in self.in_service() if len(pod.jobs) == 1]
        return min((time for time in times if time > now), default=None)
