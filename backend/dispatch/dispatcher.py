"""Bring generations to pods: run attempts, record outcomes, leave pods that are lost.

Lives in the one process that schedules. All of it is memory, filled from the committed rows.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import InitVar, dataclass
from functools import partial
from uuid import UUID

import sqlalchemy as sa
import structlog

from backend.dispatch.active import ActiveGeneration
from backend.dispatch.attempt import RETRY_PAUSE_S, Attempt, RetryElsewhere
from backend.dispatch.pods import Pod, Pods
from backend.dispatch.queue import GenerationQueue
from backend.limits.refusals import Refusals
from backend.metrics import Metrics
from backend.scheduling.scheduler import Limits
from backend.storage.blobs import BLOB_ERRORS
from backend.storage.database import DatabaseAway
from backend.storage.generations import GenerationRow, Outcome
from backend.storage.storage import Storage
from gpu_server.client import GpuClient
from gpu_server.schemas import State
from web import errors

log = structlog.get_logger()

MAX_FAILURES = 3
"""Failed attempts, on any pods, after which a generation fails."""
_HOPELESS_CHECK_S = 5.0  # between checks for generations that no pod can draw
_ORPHAN_SCAN_S = 5.0  # between scans for committed generations that no scheduler picked up
_SETTLE_S = 3600.0
"""How long, by default, pods keep a result that they were not told to forget."""


@dataclass(kw_only=True, eq=False)
class Dispatcher:
    storage: Storage
    refusals: Refusals
    metrics: Metrics
    limits: InitVar[Limits]
    clients: InitVar[Mapping[str, GpuClient]]
    no_gpu_timeout_s: float

    def __post_init__(self, limits: Limits, clients: Mapping[str, GpuClient]) -> None:
        self.queue = GenerationQueue(limits)
        self.pods = Pods(clients, self._pod_changed, self._continue_on)
        self._attempts: dict[UUID, asyncio.Task[None]] = {}
        self._hopeless_checked_at = 0.0
        self._tasks: asyncio.TaskGroup

    def take(self, row: GenerationRow, *, is_new: bool = False) -> ActiveGeneration:
        """Queue a committed generation, or follow it on the pod that may already have it."""
        known = self.queue.active.get(row.id)
        if known is not None:
            return known
        active = self._take(row, is_new=is_new)
        self._pump()
        return active

    def _take(self, row: GenerationRow, *, is_new: bool = False) -> ActiveGeneration:
        if is_new or row.pod is None or row.pod not in self.pods:
            return self.queue.add(row)
        active = self.queue.adopt(row, row.pod)
        self._start_attempt(active, row.pod, pod_may_have_it=True)
        return active

    async def find(self, generation_id: UUID) -> ActiveGeneration | None:
        """Return the generation if it has not ended."""
        active = self.queue.active.get(generation_id)
        if active is None:
            # Read the row only now: an end is committed before the generation leaves the queue.
            row = await self.storage.rows.get(generation_id)
            if row is not None and row.ended is None:
                # The answer to its commit was lost, or the process that accepted it died.
                active = self.take(row)
        return active

    async def cancel(self, active: ActiveGeneration) -> None:
        """Stop it wherever it is; `active.wait()` returns when that is done."""
        active.request_stop()
        if active.row.id in self._attempts:
            return  # the attempt passes it on to the pod
        self.queue.withdraw(active)
        await self._end(active, Outcome.cancelled())

    async def run(self, ready: asyncio.Event) -> None:
        """Take up unfinished generations, then work until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for row in await self.storage.rows.unfinished():
                self._take(row)
            # The process that led before may have been killed before it came to this.
            self.pods.settle(await self.storage.rows.on_pods_since(time.time() - _SETTLE_S))
            for pod in self.pods.values():
                self._tasks.create_task(pod.watch(), name=f"pod {pod.name}")
            self._tasks.create_task(self._take_up_orphans(), name="orphans")
            await self.pods.first_look()
            ready.set()
            while True:
                self._leave_lost_pods()
                self._pump()
                self._give_up_hopeless(time.monotonic())
                await self.queue.wait()

    async def _take_up_orphans(self) -> None:
        while True:
            await asyncio.sleep(_ORPHAN_SCAN_S)
            try:
                unfinished = await self.storage.rows.unfinished_ids()
                for generation_id in unfinished - self.queue.active.keys():
                    if await self.find(generation_id) is not None:
                        log.warning("orphan_found", generation_id=str(generation_id))
            except (DatabaseAway, sa.exc.SQLAlchemyError) as error:
                log.warning("orphan_scan_failed", error=type(error).__name__)

    def _pump(self) -> None:
        for active, pod in self.queue.assignments():
            self._start_attempt(active, pod)

    def _pod_changed(self, pod: Pod) -> None:
        self.queue.pod_changed(pod)
        self.metrics.pods_in_service.set(len(self.pods.in_service))

    def _leave_lost_pods(self) -> None:
        for pod in self.pods.values():
            if pod.is_lost():
                for active in self.queue.pod_lost(pod):
                    if active.row.id in self._attempts:
                        self._leave(active, pod)

    def _leave(self, active: ActiveGeneration, pod: Pod) -> None:
        """Give up the attempt on a lost pod."""
        if active.is_closing:
            self.queue.free(active)
            return
        self._attempts.pop(active.row.id).cancel()
        pod.leave(active.row.id)
        if active.status is State.running:
            active.count_failure()  # this generation may have crashed the pod
        _log_move(active, pod, "lost")
        error = errors.EngineLost(f"GPUs were lost {active.failures} times while drawing it")
        outcome = _final_outcome(active, error)
        if outcome is None:
            self._requeue(active, pod)
        else:
            self.queue.free(active)
            self._tasks.create_task(self._end(active, outcome))

    def _continue_on(self, pod: Pod, generation_id: UUID) -> bool:
        """Continue on a pod that was lost and answers again. Return whether it keeps the job."""
        active = self.queue.active.get(generation_id)
        if active is None or active.is_stopping or active.is_closing:
            return False
        if active.pod is None and pod.in_service:
            self.queue.put_on(active, pod.name)
            self._start_attempt(active, pod.name, pod_may_have_it=True)
        return active.pod in (None, pod.name)

    def _give_up_hopeless(self, now: float) -> None:
        """End generations that no pod could draw for too long."""
        if now - self._hopeless_checked_at < min(_HOPELESS_CHECK_S, self.no_gpu_timeout_s / 4):
            return
        self._hopeless_checked_at = now
        styles = self.pods.styles
        for active in list(self.queue.active.values()):
            seconds = active.seconds_without_pod(now, can_be_drawn=active.row.style in styles)
            if seconds > self.no_gpu_timeout_s:
                minutes = self.no_gpu_timeout_s / 60
                error = errors.NoGpu(f"No GPU could draw this for {minutes:.0f} minutes")
                self.queue.withdraw(active)
                self._tasks.create_task(self._end(active, Outcome.failed(error)))

    def _start_attempt(
        self, active: ActiveGeneration, pod_name: str, *, pod_may_have_it: bool = False
    ) -> None:
        active.assign(pod_name)
        attempt = Attempt(
            active=active,
            pod=self.pods[pod_name],
            blobs=self.storage.blobs,
            pod_may_have_it=pod_may_have_it,
            began=partial(self.queue.began, active),
        )
        self._attempts[active.row.id] = self._tasks.create_task(self._run(attempt))

    async def _run(self, attempt: Attempt) -> None:
        active, pod = attempt.active, attempt.pod
        # The task inherits the ids of whichever request freed the pod: replace them.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**active.trace, generation_id=str(active.row.id))
        await pod.clear(active.row.id)
        known = active.committed_pod
        if known != pod.name:
            if not await self.storage.rows.set_pod(active.row.id, pod.name, known=known):
                # It was deleted, or another process leads now and has taken it up.
                log.warning("generation_released")
                self.queue.free(active)
                self._forget(active)
                active.drop()
                return
            active.commit_pod(pod.name)
        try:
            with pod.running_one():
                outcome = await self._outcome(attempt)
        except RetryElsewhere as retry:
            await self._retry_elsewhere(active, pod, retry)
            return
        await self._end(active, outcome)
        pod.settle(active.row.id)

    async def _outcome(self, attempt: Attempt) -> Outcome:
        try:
            async with asyncio.timeout(attempt.timeout_s):
                job = await attempt.draw()
                if job is not None and job.status is State.succeeded:
                    # The GPU is free for the next job while the images are fetched.
                    self.queue.free(attempt.active, job.timings, succeeded=True)
                    self._pump()
                return await attempt.outcome(job)
        except TimeoutError:
            return attempt.timed_out()
        except RetryElsewhere:
            raise
        except errors.EaselError as error:
            return Outcome.failed(error)
        except Exception as error:  # the outermost edge of a generation: it ends, others continue
            log.exception("generation_broke", error=type(error).__name__)
            return Outcome.failed(errors.Internal())

    async def _retry_elsewhere(
        self, active: ActiveGeneration, pod: Pod, retry: RetryElsewhere
    ) -> None:
        if retry.is_failure:
            active.count_failure()
        _log_move(active, pod, retry.error.code)
        if active.failures < MAX_FAILURES and not active.is_stopping:
            await pod.stop(active.row.id)
            await asyncio.sleep(RETRY_PAUSE_S)
        else:
            pod.abandon(active.row.id)
        error = retry.error
        if not isinstance(error, errors.ModelMissing | errors.EngineLost):
            error = errors.EngineLost(f"It could not be drawn: {error.detail}")
        outcome = _final_outcome(active, error)
        if outcome is not None:
            await self._end(active, outcome)
        else:
            self._attempts.pop(active.row.id, None)
            self._requeue(active, pod)

    def _requeue(self, active: ActiveGeneration, pod: Pod) -> None:
        self.metrics.moved.inc()
        self.queue.requeue(active, pod.name)

    async def _end(self, active: ActiveGeneration, outcome: Outcome) -> None:
        """Commit the outcome, then tell everyone."""
        if not active.begin_closing():
            return
        ended = active.row.ended_with(outcome)
        kept = await self.storage.rows.end(ended)
        self.queue.free(active, outcome.timings, succeeded=outcome.status is State.succeeded)
        self._pump()
        self._forget(active)
        active.end(kept or ended)
        self.metrics.ended(ended, outcome)
        await self._clean_up(ended, was_deleted=kept is None)

    async def _clean_up(self, row: GenerationRow, *, was_deleted: bool) -> None:
        """Count a refused image, remove files no longer needed; the sweep does what fails here."""
        error = row.outcome.failure if row.outcome else None
        try:
            if isinstance(error, errors.ContentRefused) and error.category != errors.UNCHECKED:
                await self.refusals.note(row.owner, row.user, error.category or "picture")
            if was_deleted:
                await self.storage.delete([row])
            else:
                await self.storage.blobs.remove_photos(row)
        except (DatabaseAway, sa.exc.SQLAlchemyError, *BLOB_ERRORS) as failure:
            log.warning("cleanup_deferred", error=type(failure).__name__)

    def _forget(self, active: ActiveGeneration) -> None:
        self._attempts.pop(active.row.id, None)
        self.queue.remove(active)


def _final_outcome(active: ActiveGeneration, error: errors.EaselError) -> Outcome | None:
    """Return the outcome after an attempt that came to nothing; None if another may follow."""
    if active.is_stopping:
        return Outcome.cancelled()
    return Outcome.failed(error) if active.failures >= MAX_FAILURES else None


def _log_move(active: ActiveGeneration, pod: Pod, reason: str) -> None:
    ids = {"generation_id": str(active.row.id), "pod": pod.name}
    log.warning("generation_moved", **ids, reason=reason, failures=active.failures)
