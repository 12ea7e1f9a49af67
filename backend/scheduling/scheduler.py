"""Who draws next, and on which pod.

Pure and synchronous: no I/O and no clock; each call gets `now` in monotonic seconds. Users share
the pods in deficit round robin by learnt GPU seconds. Pods stay with a loaded model as long as
nobody waits more than twice their fair turn for it (`backend/scheduling/turn.py` has the argument).
`priority` orders the generations of one user only. An idle pod takes whatever it can serve, with
one exception: it does not load a model for a job that a pod which has the model will begin sooner
than the loading would take.

A job here is a generation's execution on one pod, waiting or running.
"""

from collections.abc import Iterable
from uuid import UUID

from backend.scheduling.backlog import Backlog
from backend.scheduling.choice import Choice
from backend.scheduling.estimates import Estimates
from backend.scheduling.fair_queue import QueuedWork
from backend.scheduling.pods import Pod, Pods
from backend.scheduling.positions import Positions
from backend.scheduling.work import (
    Assignment,
    Limits,
    QueueFull,
    QueuePosition,
    Stats,
    UserBusy,
    Work,
)

__all__ = ["Limits", "QueueFull", "Scheduler", "UserBusy", "Work"]

_IDLE_CHECK_S = 1.0
"""How long until `dispatch` should look again when no pod is about to have room."""


class Scheduler:
    """Unknown ids raise KeyError, except that `finished` and `pod_down` may be repeated."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._estimates = Estimates(self._limits)
        self._backlog = Backlog(self._estimates, self._limits)
        self._pods = Pods()
        self._jobs: dict[UUID, QueuedWork] = {}
        self._choice = Choice(self._backlog, self._pods, self._estimates, self._limits)
        self._positions = Positions(self._backlog, self._pods, self._estimates)
        self._numbers = 0
        self._model_changes = 0

    def check_user(self, user: str, now: float, ahead: int = 0) -> None:
        """Raise UserBusy if a user has as many unfinished generations as one user may have.

        `ahead` counts those of the user that are to be submitted before this one.
        """
        unfinished = self._unfinished(user)
        if len(unfinished) + ahead >= self._limits.per_user:
            raise UserBusy(
                f"{len(unfinished)} generations are unfinished; wait for one or cancel one",
                self._positions.seconds_until_ends(unfinished, now, number=ahead + 1),
            )

    def _unfinished(self, user: str) -> set[QueuedWork]:
        known = self._backlog.queue.users.get(user)
        return known.unfinished if known is not None else set()

    def check_queue(self, user: str, now: float, *, ahead: int = 0, entering: int = 0) -> None:
        """Raise QueueFull if the queue, or a user's share of it, has no room for one more.

        `entering` counts the generations of all users that have a place and are not submitted yet.
        """
        own = self._unfinished(user)
        if len(own) + ahead >= self._limits.share:
            own_on_pods = [job for job in own if job.pod_id]
            raise QueueFull(
                "half of the queue is taken by this user, or by requests that name no user",
                self._positions.seconds_until_ends(own_on_pods, now),
            )
        if len(self._jobs) + entering >= self._limits.queue:
            on_pods = [job for pod in self._pods.values() for job in pod.jobs]
            raise QueueFull(
                "the queue is full; try again later",
                self._positions.seconds_until_ends(on_pods, now),
            )

    def submit(self, work: Work, now: float) -> None:
        """Queue accepted work; bounds do not apply. Raises ValueError if the id is here already."""
        if work.id in self._jobs:
            raise ValueError(f"{work.id} was submitted before and is not finished")
        self._backlog.add(self._enrol(work, now), now, len(self._pods.in_service()))
        self._positions.changed()

    def adopt(self, work: Work, pod_id: str, now: float) -> None:
        """Register a job that a pod kept over a restart; bounds do not apply."""
        job = self._jobs.get(work.id)
        if job is None:
            job = self._enrol(work, now)
        elif job.pod_id is None:
            self._backlog.withdraw(job)
        else:
            return
        self._assign(job, self._pods.known(pod_id), now)
        job.loads = False

    def cancel(self, work_id: UUID) -> str | None:
        """Drop a waiting job, or return the pod that must stop it; `finished` is then expected."""
        job = self._jobs[work_id]
        if job.pod_id is None:
            self._backlog.withdraw(job)
            self._forget(job)
        return job.pod_id

    def started(self, work_id: UUID, now: float) -> None:
        """Note that the pod has begun the job, which sharpens the estimate of its end."""
        self._jobs[work_id].started = now

    def finished(
        self,
        work_id: UUID,
        now: float,
        gpu_seconds: float | None = None,
        model_seconds: float = 0.0,
        *,
        succeeded: bool = True,
    ) -> None:
        """Forget a job that is over, however it ended; an unknown one is ignored.

        The user is charged `gpu_seconds`; only a success teaches the estimates.
        """
        job = self._jobs.get(work_id)
        if job is None:
            return
        pod = self._pods.get(job.pod_id or "")
        if pod is None:
            self._backlog.withdraw(job)
        else:
            pod.release(job, now)
            if gpu_seconds is not None:
                self._backlog.queue.settle(job, gpu_seconds)
                if succeeded:
                    self._estimates.learn_job(job.cost_key, pod.id, gpu_seconds)
                    self._estimates.learn_load(job.work.model, model_seconds, changed=job.loads)
        self._forget(job)

    def failed_on(self, work_id: UUID, pod_id: str, now: float) -> None:
        """Put a job back for another pod, or for this one if no other in service can run it."""
        job = self._jobs[work_id]
        job.excluded |= {pod_id}
        if job.pod_id == pod_id:
            self._pods[pod_id].release(job, now)
            self._put_back([job], now)

    def pod_up(self, pod_id: str, styles: Iterable[str], loaded_model: str | None = None) -> None:
        """Put a pod in service, or change what it serves; its jobs stay."""
        self._pods.known(pod_id).serve(styles, loaded_model)
        self._served_changed()

    def drain(self, pod_id: str) -> None:
        """Give the pod no more work; it finishes what it has."""
        self._pods[pod_id].in_service = False
        self._served_changed()

    def pod_down(self, pod_id: str, now: float) -> list[UUID]:
        """Forget a pod, put its jobs back first in their users' queues, and return their ids."""
        pod = self._pods.pop(pod_id, None)
        if pod is None:
            return []
        jobs = pod.release_all()
        self._put_back(jobs, now)
        return [job.work.id for job in jobs]

    def dispatch(self, now: float) -> list[Assignment]:
        """Give waiting jobs to every pod with room; call it after every event and at `wake_at`."""
        made: list[Assignment] = []
        if not self._backlog.size:
            return made
        pods = self._pods.with_room(now, self._limits.ahead_s)
        idle = [pod for pod in pods if not pod.jobs]
        busy = [pod for pod in pods if pod.jobs]
        while (
            assignment := self._assign_one(idle, now) or self._assign_one(busy, now)
        ) is not None:
            made.append(assignment)
            idle = [pod for pod in idle if not pod.jobs]
            busy = [pod for pod in busy if pod.has_room(now, self._limits.ahead_s)]
        return made

    def wake_at(self, now: float) -> float | None:
        """Return when `dispatch` may have something to give although nothing else happened."""
        if not self._backlog.size:
            return None
        room_at = self._pods.next_room_at(now, self._limits.ahead_s)
        return now + _IDLE_CHECK_S if room_at is None else room_at

    def idle_pod(self, style: str, model: str) -> str | None:
        """Return the pod that would begin such a job at once, preferring one with its model."""
        if self._backlog.size:
            return None
        idle = [pod for pod in self._pods.in_service() if not pod.jobs and style in pod.styles]
        return min(idle, key=lambda pod: pod.model != model).id if idle else None

    def position(self, work_id: UUID, now: float) -> QueuePosition:
        """Return where a job stands; in a long queue this may lag by a few seconds."""
        return self._positions.of(self._jobs[work_id], now)

    def stats(self) -> Stats:
        on_pods = sum(len(pod.jobs) for pod in self._pods.values())
        return Stats(
            waiting=len(self._jobs) - on_pods,
            on_pods=on_pods,
            users=len(self._backlog.queue.users),
            model_changes=self._model_changes,
        )

    def _assign_one(self, pods: list[Pod], now: float) -> Assignment | None:
        """Give one job to one of these pods, if possible to one that has its model."""
        choice = self._choice
        for choose in (choice.same_model, choice.stay, choice.change, choice.beyond):
            for pod in pods:
                if not self._backlog.turn.size:
                    in_service = len(self._pods.in_service())
                    self._backlog.open_turn(now, in_service, self._pods.styles())
                job = choose(pod, now)
                if job is not None:
                    self._backlog.take(job)
                    self._assign(job, pod, now)
                    return Assignment(job.work.id, pod.id)
        return None

    def _assign(self, job: QueuedWork, pod: Pod, now: float) -> None:
        pod.assign(job, now, self._estimates)
        self._model_changes += job.loads
        self._positions.changed()

    def _enrol(self, work: Work, now: float) -> QueuedWork:
        job = self._jobs[work.id] = QueuedWork(work, self._numbers, now)
        self._backlog.queue.enrol(job)
        self._numbers += 1
        return job

    def _forget(self, job: QueuedWork) -> None:
        del self._jobs[job.work.id]
        self._backlog.queue.forget(job)
        self._positions.changed()

    def _put_back(self, jobs: list[QueuedWork], now: float) -> None:
        self._backlog.put_back(jobs, now)
        self._served_changed()

    def _served_changed(self) -> None:
        self._backlog.requeue_unserved(self._pods.styles())
        self._positions.changed()
