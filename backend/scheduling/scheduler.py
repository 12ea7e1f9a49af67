"""Who is next, and on which pod.

Pure and synchronous: no I/O and no clock, every call is told `now` in monotonic seconds. Users
share the pods in deficit round robin by learnt GPU seconds; pods keep to a loaded model as far as
nobody waits more than twice their fair turn for it (`backend/scheduling/turn.py` has the argument).
`priority` orders a user's own jobs only. An idle pod takes whatever it can serve, with one
exception: it is not made to load a model for a job that a pod which has the model will begin
sooner than the loading would take.
"""

import math
from collections.abc import Iterable, Mapping
from uuid import UUID

from backend.scheduling.choice import Choice
from backend.scheduling.estimates import Estimates
from backend.scheduling.fair_queue import FairQueue, Job
from backend.scheduling.places import Places
from backend.scheduling.pods import Pod, Pods
from backend.scheduling.turn import Turn
from backend.scheduling.work import (
    Assignment,
    Limits,
    Place,
    PodStats,
    QueueFull,
    Stats,
    UserBusy,
    Work,
)

__all__ = ["Assignment", "Limits", "Place", "QueueFull", "Scheduler", "Stats", "UserBusy", "Work"]

EXACT_BELOW = 200
"""Waiting jobs up to which positions are never stale; above, they are retaken now and then."""
RETAKE_S = 1e-3
"""Seconds between two pictures of a long line, per waiting job: 10 s with 10,000."""
RETRY_WITHOUT_PODS_S = 30.0


class Scheduler:
    """Ids that are not known raise KeyError; `finished` and `pod_down` may be told twice."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self.estimates = Estimates(self._limits)
        self._queue = FairQueue(self.estimates)
        self._turn = Turn(self.estimates)
        self._jobs: dict[UUID, Job] = {}
        self._pods = Pods()
        self._choice = Choice(self._queue, self._turn, self._pods, self.estimates, self._limits)
        self._numbers = 0
        self._model_changes = 0
        self._places = Places(self._queue, [], self.estimates, {}, 0.0)
        self._places_at = -math.inf
        self._changed = True

    # Jobs

    def submit(self, work: Work, now: float, *, bounded: bool = True) -> None:
        """Accepts a job into its user's line; without bounds, what was accepted before.

        Raises UserBusy or QueueFull with `retry_after`, ValueError for an id already here.
        """
        if work.id in self._jobs:
            raise ValueError(f"{work.id} was submitted before and is not finished")
        if bounded:
            self.check_room(work.user, now)
        newcomer = self._queue.add(self._enrol(work, now))
        if newcomer:
            self._turn.hurry(now, len(self._pods.in_service()))
        self._changed = True

    def check_room(self, user: str, now: float, entering: int = 0) -> None:
        """Raises UserBusy or QueueFull, with `retry_after`, when one more would be too many;
        `entering` are let in already and not submitted yet."""
        line = self._queue.lines.get(user)
        if line is not None and len(line.unfinished) >= self._limits.per_user:
            raise UserBusy(
                f"{len(line.unfinished)} generations are unfinished; wait for one or cancel one",
                self._until_one_ends(line.unfinished, now),
            )
        if len(self._jobs) + entering >= self._limits.queue:
            on_pods = [job for pod in self._pods.values() for job in pod.jobs]
            raise QueueFull(
                "the queue is full; try again later", self._until_one_ends(on_pods, now)
            )

    def adopt(self, work: Work, pod_id: str, now: float) -> None:
        """Registers a job found on a pod after a restart; bounds do not apply."""
        if (known := self._jobs.get(work.id)) is not None:
            if known.pod_id is not None:
                return
            self._withdraw(known)
            job = known
        else:
            job = self._enrol(work, now)
        self._give(job, self._pods.setdefault(pod_id, Pod(pod_id)), now)
        job.loads = False

    def cancel(self, id: UUID) -> str | None:  # noqa: A002 - the field's name everywhere
        """Drops a waiting job at once (None), or names the pod on which it must be stopped and
        from which `finished` is then expected."""
        job = self._jobs[id]
        if job.pod_id is None:
            self._withdraw(job)
            self._forget(job)
        return job.pod_id

    def started(self, id: UUID, now: float) -> None:  # noqa: A002
        """The pod began working on the job; sharpens what is expected of the pod."""
        self._jobs[id].started = now

    def finished(
        self,
        id: UUID,  # noqa: A002
        now: float,
        gpu_seconds: float | None = None,
        model_seconds: float = 0.0,
        *,
        succeeded: bool = True,
    ) -> None:
        """The job is over and forgotten, however it ended. The user is charged `gpu_seconds`;
        only a success teaches the estimates. A job not known (any more) is ignored."""
        job = self._jobs.get(id)
        if job is None:
            return
        pod = self._pods.get(job.pod_id or "")
        if pod is None:
            self._withdraw(job)
        else:
            self._take_off(job, pod, now)
            if gpu_seconds is not None:
                self._queue.settle(job, gpu_seconds)
                if succeeded:
                    self.estimates.learn_job(job.cost_key, pod.id, gpu_seconds)
                    self.estimates.learn_load(job.work.model, model_seconds, changed=job.loads)
        self._forget(job)

    def failed_on(self, id: UUID, pod_id: str, now: float) -> None:  # noqa: A002
        """Puts a job back to be tried elsewhere: while another pod in service can run it, it will
        not be given to this one again."""
        job = self._jobs[id]
        job.excluded |= {pod_id}
        if job.pod_id == pod_id:
            pod = self._pods[pod_id]
            self._take_off(job, pod, now)
            self._put_back([job], now)

    # Pods

    def pod_up(self, pod_id: str, styles: Iterable[str], loaded_model: str | None = None) -> None:
        """A pod is in service, or has changed what it serves; jobs on it stay."""
        pod = self._pods.setdefault(pod_id, Pod(pod_id))
        pod.styles, pod.in_service = frozenset(styles), True
        pod.loaded = loaded_model or pod.loaded
        self._served_changed()

    def drain(self, pod_id: str) -> None:
        """Gives the pod no more work; what it has, it finishes."""
        self._pods[pod_id].in_service = False
        self._served_changed()

    def pod_down(self, pod_id: str, now: float) -> list[UUID]:
        """Forgets a pod and puts its jobs back, first in their users' lines; returns their ids."""
        pod = self._pods.pop(pod_id, None)
        if pod is None:
            return []
        jobs, pod.jobs = pod.jobs, []
        self._put_back(jobs, now)
        return [job.work.id for job in jobs]

    # Decisions

    def dispatch(self, now: float) -> list[Assignment]:
        """Gives waiting jobs to every pod with room; call after every event and at `wake_at`."""
        given: list[Assignment] = []
        if not self._queue.waiting and not self._turn.size:
            return given
        pods = sorted(
            (pod for pod in self._pods.values() if pod.has_room(now, self._limits.ahead_s)),
            key=lambda pod: pod.seconds_left(now),
        )
        idle = [pod for pod in pods if not pod.jobs]
        busy = [pod for pod in pods if pod.jobs]
        while self._fill(idle, given, now) or self._fill(busy, given, now):
            idle = [pod for pod in idle if not pod.jobs]
            busy = [pod for pod in busy if pod.has_room(now, self._limits.ahead_s)]
        return given

    def wake_at(self, now: float) -> float | None:
        """When `dispatch` may have something to give although nothing else happened."""
        if not self._queue.waiting and not self._turn.size:
            return None
        times = [
            pod.jobs[0].started + pod.jobs[0].expected - self._limits.ahead_s
            for pod in self._pods.in_service()
            if len(pod.jobs) == 1
        ]
        return min((time for time in times if time > now), default=now + 1.0)

    def _fill(self, pods: list[Pod], given: list[Assignment], now: float) -> bool:
        """Gives one job to one of these pods, to one that has the model if possible."""
        for choose in self._choice.rules:
            for pod in pods:
                if not self._turn.size:
                    self._open_turn(now)
                job = choose(pod, now)
                if job is not None:
                    if job.queued:
                        self._queue.charge(job)
                    else:
                        self._turn.remove(job)
                        self._queue.leave_turn(job)
                    self._give(job, pod, now)
                    given.append(Assignment(job.work.id, pod.id))
                    return True
        return False

    def _open_turn(self, now: float) -> None:
        pods = len(self._pods.in_service())
        served = {style for pod in self._pods.in_service() for style in pod.styles}
        kinds = [kind for kind in self._queue.kinds() if kind[0] in served]
        if not kinds:
            return
        self._turn.open(now)

        def admit(job: Job) -> bool:
            if not self._limits.affinity and self._turn.size:
                return False
            if not self._turn.admits(job, self._queue.cost(job), pods):
                return False
            self._queue.charge(job)
            self._queue.enter_turn(job)
            self._turn.add(job)
            return True

        self._queue.deal(kinds, admit)

    def idle_pod(self, style: str, model: str) -> str | None:
        """The pod that would begin a job of this kind at once, one with its model first."""
        if self._queue.waiting or self._turn.size:
            return None
        idle = [pod for pod in self._pods.in_service() if not pod.jobs and style in pod.styles]
        return min(idle, key=lambda pod: pod.model != model).id if idle else None

    # State

    def position(self, id: UUID, now: float) -> Place:  # noqa: A002
        """Where a job stands. In a long line this may lag behind by a few seconds."""
        job = self._jobs[id]
        pod = self._pods.get(job.pod_id or "")
        if pod is not None:
            before = pod.jobs[: pod.jobs.index(job)]
            left = abs((pod.jobs[0].started + pod.jobs[0].expected) - now)
            later = sum(other.expected for other in [*before, job][1:])
            return Place(0, left + later)
        self._retake(now)
        return self._places.get(job, len(self._queue.lines[job.work.user].waiting()))

    def positions(self, now: float) -> Mapping[UUID, Place]:
        """The places of all waiting jobs, first in line first; taken once per change at most."""
        self._retake(now)
        return self._places.by_id

    def stats(self) -> Stats:
        on_pods = sum(len(pod.jobs) for pod in self._pods.values())
        return Stats(
            waiting=len(self._jobs) - on_pods,
            on_pods=on_pods,
            users=len(self._queue.lines),
            model_changes=self._model_changes,
            pods={
                pod.id: PodStats(
                    pod.in_service, pod.model, len(pod.jobs), self.estimates.speed(pod.id)
                )
                for pod in self._pods.values()
            },
        )

    def _retake(self, now: float) -> None:
        waiting, age = self._queue.waiting + self._turn.size, now - self._places_at
        due = self._changed if waiting <= EXACT_BELOW else age >= waiting * RETAKE_S
        if not due and (waiting > EXACT_BELOW or age < 1.0):
            return
        speeds: dict[str, float] = {}
        pods = self._pods.in_service()
        for pod in pods:
            for style in pod.styles:
                speeds[style] = speeds.get(style, 0.0) + 1 / self.estimates.speed(pod.id)
        busy_s = sum(pod.seconds_left(now) for pod in pods) / max(len(pods), 1)
        self._places = Places(self._queue, self._turn.jobs(), self.estimates, speeds, busy_s)
        self._places_at, self._changed = now, False

    def _until_one_ends(self, jobs: Iterable[Job], now: float) -> float:
        places = [self.position(job.work.id, now).seconds for job in jobs]
        return max(1.0, min((s for s in places if s is not None), default=RETRY_WITHOUT_PODS_S))

    def _enrol(self, work: Work, now: float) -> Job:
        job = self._jobs[work.id] = Job(work, self._numbers, now)
        self._queue.enrol(work.user).unfinished.add(job)
        self._numbers += 1
        return job

    def _forget(self, job: Job) -> None:
        del self._jobs[job.work.id]
        unfinished = self._queue.lines[job.work.user].unfinished
        unfinished.remove(job)
        if not unfinished:
            self._queue.leave(job.work.user)
        self._changed = True

    def _withdraw(self, job: Job) -> None:
        """Takes a job that is not on a pod out of the line or the turn, uncharged."""
        if job.queued:
            self._queue.remove(job)
        else:
            self._turn.remove(job)
            self._queue.settle(job, 0.0)
            self._queue.leave_turn(job)
        self._changed = True

    def _give(self, job: Job, pod: Pod, now: float) -> None:
        job.loads = pod.model != job.work.model
        load = self.estimates.load(job.work.model) if job.loads else 0.0
        job.expected = self._queue.cost(job) * self.estimates.speed(pod.id) + load
        job.pod_id, job.started = pod.id, now
        self._model_changes += job.loads
        pod.jobs.append(job)
        self._changed = True

    def _take_off(self, job: Job, pod: Pod, now: float) -> None:
        if pod.jobs[0] is job:
            pod.loaded = job.work.model
            for following in pod.jobs[1:2]:
                following.started = now
        pod.jobs.remove(job)
        job.pod_id = None
        self._changed = True

    def _put_back(self, jobs: list[Job], now: float) -> None:
        """Their turn had come and was charged: they are first in the turn, still charged; where
        no pod can take them, first in their lines, and charged when their turn comes again."""
        if jobs and not self._turn.size:
            self._turn.open(now)
            self._turn.deadline = now
        for job in reversed(jobs):
            job.pod_id, job.returned = None, True
            if not job.cost:
                job.cost = self._queue.cost(job)
                self._queue.lines[job.work.user].deficit -= job.cost
            self._queue.enter_turn(job)
            self._turn.add(job, first=True)
        self._served_changed()

    def _served_changed(self) -> None:
        """Jobs in turn that no pod serves any more go back to their lines, uncharged."""
        served = {style for pod in self._pods.in_service() for style in pod.styles}
        for job in self._turn.jobs():
            if job.work.style not in served:
                self._withdraw(job)
                self._queue.add(job)
        self._changed = True
