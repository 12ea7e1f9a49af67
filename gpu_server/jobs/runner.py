"""The jobs of this pod: admitted, run, cancelled, kept, forgotten, and found again on restart.

Whatever happens, a job ends in pictures or in an error that says why.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import structlog

from gpu_server import schemas
from gpu_server.comfy.engine import Engine
from gpu_server.jobs.cleanup import Leftover, Leftovers, leftover_of
from gpu_server.jobs.execution import Drawing
from gpu_server.jobs.job import Job, Order, attempt_ids, fingerprint
from gpu_server.jobs.records import Record, Records
from gpu_server.metrics import Metrics
from gpu_server.schemas import State
from gpu_server.timeouts import Patience
from web import errors

log = structlog.get_logger()

MAX_RESULTS = 2000
"""Ended jobs kept at most, however long their time; the oldest go first."""


class Runner:
    def __init__(
        self,
        *,
        engine: Engine,
        drawing: Drawing,
        leftovers: Leftovers,
        records: Records,
        metrics: Metrics,
        patience: Patience,
        max_jobs: int,
        result_ttl_s: float,
    ) -> None:
        self._engine = engine
        self._drawing = drawing
        self._leftovers = leftovers
        self._records = records
        self._metrics = metrics
        self._patience = patience
        self._max_jobs = max_jobs
        self._ttl_s = result_ttl_s
        self._jobs: dict[UUID, Job] = {}
        self._unfinished: dict[UUID, Job] = {}
        self._tasks: asyncio.TaskGroup
        self.ready = asyncio.Event()
        """The jobs of before are known again."""

    # -- what the routes use -------------------------------------------------------------

    def get(self, job_id: UUID) -> Job:
        job = self._jobs.get(job_id)
        if job is None:
            raise errors.NotFound("This GPU server has no such job (any more)")
        return job

    def unfinished(self) -> list[Job]:
        return list(self._unfinished.values())

    def position(self, job: Job) -> int:
        """Jobs of this pod that come before it."""
        return sum(other.created_at < job.created_at for other in self._unfinished.values())

    async def admit(
        self, job_id: UUID, order: Order, photo: bytes | None, body: Any, *, keep: bool
    ) -> Job:
        """Take a job on, or find it again under its id.

        A job that is not to be kept is not there any more after a restart. Raises Conflict for
        another request under a known id, QueueFull, ModelMissing or NoGpu.
        """
        mark = fingerprint(body, photo)
        if job_id not in self._jobs and job_id in self._leftovers:
            # Deleted and asked for again: the files of the new one are to stay.
            await self._remove_leftovers()
            if job_id in self._leftovers:
                raise errors.NoGpu("ComfyUI still stops the one that was deleted", retry_after=2)
        known = self._jobs.get(job_id)
        if known is not None:
            if known.fingerprint != mark:
                raise errors.Conflict("This id was used for another request")
            return known
        self._require_available(order)
        waiting = len(self._unfinished)
        if waiting >= self._max_jobs:
            raise errors.QueueFull(f"This GPU has {waiting} jobs already", retry_after=5)
        job = Job(job_id, order, mark, engine=self._engine.name, kept=keep)
        self._jobs[job_id] = self._unfinished[job_id] = job
        request = {**order.as_json(), "kept": keep}
        written = self._records.add(Record(job_id, request, mark, created=job.created_at), photo)
        if keep:
            try:
                await asyncio.shield(written)
            except (OSError, sqlite3.Error):
                del self._jobs[job_id], self._unfinished[job_id]
                job.ended_at = time.time()  # others may follow it already
                job.update(state=State.failed, stage="failed", error=errors.Internal())
                raise
            except asyncio.CancelledError:  # whoever asked has gone; the record is being written
                self._start(job)
                raise
        self._start(job)
        return job

    def _require_available(self, order: Order) -> None:
        mode, style = order.request.mode, order.request.style
        state = self._engine.style(mode, style)
        if state.missing:
            raise errors.ModelMissing(f"The style '{style}' is not ready: {state.reason}")
        if not state.available:
            raise errors.NoGpu(f"'{style}' cannot be drawn now: {state.reason}", retry_after=10)
        if not self._engine.in_service.is_set():
            why = self._engine.fault or "it does not answer"
            raise errors.NoGpu(f"ComfyUI is out of service: {why}", retry_after=5)

    async def image(self, job: Job, number: int) -> bytes:
        """The encoded picture; raises NotFound."""
        if job.state is not State.succeeded or not 0 <= number < len(job.images):
            raise errors.NotFound(f"The job has no picture {number}")
        if job.pictures:
            return job.pictures[number]
        data = await self._records.image(job.id, number)
        if data is None:
            raise errors.NotFound(f"The job's picture {number} is gone")
        return data

    async def end(self, job: Job) -> schemas.Ended:
        """Cancel the job, or forget it with its pictures when it has ended. Says what happened."""
        began = time.monotonic()
        if job.state.ended:
            await self.forget(job)
            return _ended(job, "deleted", "The job and its pictures were deleted", began)
        job.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience.cancel_s):
                await job.done.wait()
        if job.state is State.cancelled:
            return _ended(job, "cancelled", "The job was stopped", began)
        if job.state.ended:
            return _ended(job, "already_ended", "It had ended before it could be stopped", began)
        return _ended(job, "stopping", f"ComfyUI is {job.stage} and stops after that", began)

    async def forget_ended(self, job_ids: Iterable[UUID]) -> None:
        """Forget those of these jobs that have ended, with their pictures."""
        known = [job for job_id in job_ids if (job := self._jobs.get(job_id)) is not None]
        await asyncio.gather(*(self.forget(job) for job in known if job.state.ended))

    def drop(self, job: Job) -> None:
        """Stop the job if it runs, and forget it when it has ended; returns at once."""
        if not job.state.ended:
            job.cancel()
        self._tasks.create_task(self._forget_when_done(job))

    async def _forget_when_done(self, job: Job) -> None:
        await job.done.wait()
        await self.forget(job)

    async def forget(self, job: Job) -> None:
        """Its pictures and request are gone now; its row, when ComfyUI is clean of it too."""
        self._jobs.pop(job.id, None)
        job.pictures = []
        with suppress(OSError, sqlite3.Error):  # the sweep's rows say so again after a restart
            await self._records.forget(job.id, clean=job.clean)

    # -- life ----------------------------------------------------------------------------

    async def run(self, kept: Sequence[Record]) -> None:
        """Take up the jobs of before, then work until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for record in kept:
                self._take_up(record)
            self.ready.set()
            await self._sweep()

    def _take_up(self, record: Record) -> None:
        if record.forgotten:
            prompts = attempt_ids(record.id, record.attempt)
            self._leftovers.add(Leftover(record.id, prompts, prompts))
            return
        job = Job(
            record.id,
            Order.from_json(record.request),
            record.fingerprint,
            record.attempt,
            record.created,
            engine=self._engine.name,
            kept=bool(record.request["kept"]),
        )
        self._jobs[job.id] = job
        if record.outcome is not None:
            _restore(job, record.outcome, record.ended or 0.0)
            job.clean = record.clean
            if not job.clean:
                self._leftovers.add(leftover_of(job, succeeded=job.state is State.succeeded))
            return
        log.info("job_taken_up", generation_id=str(job.id))
        job.submitted = None
        self._unfinished[job.id] = job
        if not job.kept:
            job.cancel()
            self._tasks.create_task(self._forget_when_done(job))
        self._start(job)

    def _start(self, job: Job) -> None:
        self._tasks.create_task(self._run(job), name=f"job {job.id}")

    async def _run(self, job: Job) -> None:
        structlog.contextvars.bind_contextvars(generation_id=str(job.id))
        pictures: list[bytes] = []
        try:
            pictures = await self._drawing.draw(job)
            changes: dict[str, Any] = {"state": State.succeeded, "progress": 1.0, "stage": "done"}
        except errors.Cancelled:
            changes = {"state": State.cancelled, "stage": "cancelled"}
        except errors.EaselError as error:
            log.warning("job_failed", code=error.code, **_loggable(error))
            changes = {"state": State.failed, "stage": "failed", "error": error}
        except Exception as error:  # the outermost edge of a job: it ends, others go on
            log.exception("job_broke", error=type(error).__name__)
            changes = {"state": State.failed, "stage": "failed", "error": errors.Internal()}
        job.ended_at = time.time()
        job.timings.total_ms = _ms(job.ended_at - job.created_at)
        job.pictures = pictures
        # Told while it is written: after a crash between the two ComfyUI's history tells it again.
        writing = self._write(job, changes) if job.kept else None
        self._unfinished.pop(job.id, None)
        self._leftovers.add(leftover_of(job, succeeded=changes["state"] is State.succeeded))
        job.update(**changes, preview=None)
        self._count(job)
        if writing is not None:
            await self._keep(job, writing)

    def _write(self, job: Job, changes: dict[str, Any]) -> asyncio.Future[None]:
        """Begin to write how it ended."""
        error = changes.get("error")
        outcome = {
            **job.view().model_dump(mode="json"),
            "status": changes["state"],
            "error": error and error.problem().model_dump(),
        }
        return self._records.end(job.id, outcome, job.pictures, job.ended_at)

    async def _keep(self, job: Job, writing: asyncio.Future[None]) -> None:
        """Its pictures are on disk from then on, or stay in memory."""
        try:
            await writing
        except (OSError, sqlite3.Error) as fault:
            log.exception("result_not_kept", error=type(fault).__name__, reason=str(fault))
        else:
            job.pictures = []

    def _count(self, job: Job) -> None:
        mode, style = job.style
        self._metrics.jobs.labels(mode, style, job.error.code if job.error else job.state).inc()
        self._metrics.previews_dropped.inc(job.previews_dropped)
        for stage in ("queued", "model", "gpu", "encode"):
            seconds = getattr(job.timings, f"{stage}_ms") / 1000
            self._metrics.seconds.labels(style, stage).observe(seconds)
        log.info("job_ended", mode=mode, style=style, outcome=job.state, **job.timings.model_dump())

    async def _sweep(self) -> None:
        """Remove what is over its time, and what ended jobs left in ComfyUI."""
        while True:
            await asyncio.sleep(self._patience.sweep_s)
            try:
                await self._remove_leftovers()
                await self._remove_old_results()
            except (OSError, sqlite3.Error) as error:  # a full disk may have room again later
                log.exception("sweep_failed", error=type(error).__name__, reason=str(error))

    async def _remove_leftovers(self) -> None:
        removed = await self._leftovers.remove()
        if not removed:
            return
        await self._records.set_clean(removed)
        for job_id in removed:
            if job_id in self._jobs:
                self._jobs[job_id].clean = True

    async def _remove_old_results(self) -> None:
        ended = [job for job in self._jobs.values() if job.state.ended]
        oldest = time.time() - self._ttl_s
        for job in ended:
            if job.ended_at < oldest or len(self._jobs) > MAX_RESULTS:
                await self.forget(job)


def _restore(job: Job, outcome: dict[str, Any], ended_at: float) -> None:
    view = schemas.Job.model_validate(outcome)
    job.ended_at = ended_at
    job.update(
        state=view.status,
        engine=view.engine,
        progress=1.0 if view.status is State.succeeded else view.progress,
        stage="done" if view.status is State.succeeded else view.status.value,
        timings=view.timings,
        images=view.images,
        error=errors.error_from(view.error) if view.error else None,
    )


def _loggable(error: errors.EaselError) -> dict[str, str]:
    """Its detail, but of an engine error: in that are a node's words, which may quote a prompt."""
    return {} if isinstance(error, errors.EngineError) else {"detail": error.detail}


def _ended(job: Job, outcome: Any, detail: str, began: float) -> schemas.Ended:
    took = _ms(time.monotonic() - began)
    return schemas.Ended(id=job.id, status=job.state, outcome=outcome, detail=detail, took_ms=took)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
