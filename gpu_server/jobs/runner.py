"""The jobs of this pod: admitted, run, cancelled, kept, forgotten, and recovered on restart.

Every job ends in images or in an error that says why.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from gpu_server.comfy.engine import Engine
from gpu_server.jobs.cleanup import Cleanup, Leftover
from gpu_server.jobs.execution import JobExecution
from gpu_server.jobs.job import Job
from gpu_server.jobs.records import Records
from gpu_server.metrics import Metrics
from gpu_server.schemas import State
from gpu_server.timeouts import Timeouts
from web import errors
from web.client import Photos

log = structlog.get_logger()

MAX_RESULTS = 2000
"""Most ended jobs to keep, even before they expire; the oldest go first."""


@dataclass(kw_only=True)
class Runner:
    """Owns every job of this pod and the task that runs it."""

    engine: Engine
    execution: JobExecution
    cleanup: Cleanup
    records: Records
    metrics: Metrics
    timeouts: Timeouts
    max_jobs: int
    result_ttl_s: float
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the jobs on disk are known."""
    _jobs: dict[UUID, Job] = field(default_factory=dict)
    _unfinished: dict[UUID, Job] = field(default_factory=dict)
    _tasks: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)

    def get(self, job_id: UUID) -> Job:
        """Return the job. Raises NotFound."""
        job = self._jobs.get(job_id)
        if job is None:
            raise errors.NotFound("This GPU server has no such job")
        return job

    def unfinished(self) -> list[Job]:
        return list(self._unfinished.values())

    def position(self, job: Job) -> int:
        """Count the unfinished jobs of this pod that were created before it."""
        return sum(other.created_at < job.created_at for other in self._unfinished.values())

    async def admit(self, job: Job, photos: Photos) -> Job:
        """Admit a job, or return the one already known under its id.

        A job that is not kept does not outlive a restart. Raises Conflict if the id belongs to
        another request; QueueFull, ModelMissing or NoGpu.
        """
        if job.id not in self._jobs and job.id in self.cleanup:
            # Deleted and requested again: cleaning up later would remove the new job's files.
            await self._clean_up()
            if job.id in self.cleanup:
                raise errors.NoGpu("ComfyUI is still stopping the deleted job", retry_after=2)
        known = self._jobs.get(job.id)
        if known is not None:
            if known.fingerprint != job.fingerprint:
                raise errors.Conflict("This id was used for another request")
            return known
        self.engine.require_available(*job.style)
        waiting = len(self._unfinished)
        if waiting >= self.max_jobs:
            raise errors.QueueFull(f"This GPU has {waiting} jobs already", retry_after=5)
        self._jobs[job.id] = self._unfinished[job.id] = job
        written = self.records.add(job, photos)
        if job.is_kept:
            try:
                await asyncio.shield(written)
            except (OSError, sqlite3.Error):
                del self._jobs[job.id], self._unfinished[job.id]
                job.fail(errors.Internal())  # it may have followers already
                raise
            except asyncio.CancelledError:  # the caller has gone; the record is being written
                self._start(job)
                raise
        self._start(job)
        return job

    async def image(self, job: Job, number: int) -> bytes:
        """Return an encoded image. Raises NotFound."""
        if job.status is not State.succeeded or not 0 <= number < len(job.image_infos):
            raise errors.NotFound(f"The job has no picture {number}")
        if job.image_bytes:
            return job.image_bytes[number]
        data = await self.records.image(job.id, number)
        if data is None:
            raise errors.NotFound(f"The job's picture {number} is gone")
        return data

    async def forget_ended(self, job_ids: Iterable[UUID]) -> None:
        jobs = [self._jobs[job_id] for job_id in job_ids if job_id in self._jobs]
        await asyncio.gather(*(self.forget(job) for job in jobs if job.is_over))

    def drop(self, job: Job) -> None:
        """Stop the job if it runs and forget it once it has ended; returns at once."""
        if not job.is_over:
            job.ask_to_stop()

        async def forget_when_done() -> None:
            await job.done.wait()
            await self.forget(job)

        self._tasks.create_task(forget_when_done())

    async def forget(self, job: Job) -> None:
        """Drop images and request now; the row stays until ComfyUI's files are removed."""
        self._jobs.pop(job.id, None)
        job.drop_image_bytes()
        with suppress(OSError, sqlite3.Error):  # the result expires after the next restart
            await self.records.forget(job.id, is_clean=job.is_clean)

    async def run(self, kept: Sequence[Job | Leftover]) -> None:
        """Recover the jobs on disk, then work until cancelled."""
        async with self._tasks:
            for each in kept:
                if isinstance(each, Leftover):
                    self.cleanup.add(each)
                else:
                    self._recover(each)
            self.ready.set()
            await self._sweep()

    def _recover(self, job: Job) -> None:
        self._jobs[job.id] = job
        if job.is_over:
            if not job.is_clean:
                self.cleanup.add(Leftover.of(job))
            return
        log.info("job_recovered", generation_id=str(job.id))
        self._unfinished[job.id] = job
        if not job.is_kept:
            self.drop(job)
        self._start(job)

    def _start(self, job: Job) -> None:
        self._tasks.create_task(self._run(job), name=f"job {job.id}")

    async def _run(self, job: Job) -> None:
        structlog.contextvars.bind_contextvars(generation_id=str(job.id))
        try:
            finished = await self.execution.run(job)
            job.succeed(finished.infos, finished.images, encode_s=finished.encode_s)
        except errors.Cancelled:
            job.end_cancelled()
        except errors.EaselError as error:
            log.warning("job_failed", code=error.code, **_loggable(error))
            job.fail(error)
        except Exception as error:  # the outermost edge of a job: it ends, the others go on
            log.exception("job_crashed", error=type(error).__name__)
            job.fail(errors.Internal())
        # Followers learn of the end while it is written. After a crash in between, the job is
        # recovered and ComfyUI's history tells its end again.
        writing = None
        if job.is_kept:
            writing = self.records.end(job.id, job.view(), job.image_bytes, job.ended_at)
        self._unfinished.pop(job.id, None)
        self.cleanup.add(Leftover.of(job))
        self._count(job)
        if writing is None:
            return
        try:
            await writing
            job.drop_image_bytes()
        except (OSError, sqlite3.Error) as fault:  # the images stay in memory
            log.exception("result_not_kept", error=type(fault).__name__, reason=str(fault))

    def _count(self, job: Job) -> None:
        mode, style = job.style
        self.metrics.jobs.labels(mode, style, job.error.code if job.error else job.status).inc()
        self.metrics.previews_dropped.inc(job.previews_dropped)
        for stage in ("queued", "model", "gpu", "encode"):
            seconds = getattr(job.timings, f"{stage}_ms") / 1000
            self.metrics.seconds.labels(style, stage).observe(seconds)
        timings = job.timings.model_dump()
        log.info("job_ended", mode=mode, style=style, outcome=job.status, **timings)

    async def _sweep(self) -> None:
        """Remove expired results, and what ended jobs left in ComfyUI, until cancelled."""
        while True:
            await asyncio.sleep(self.timeouts.sweep_s)
            try:
                await self._clean_up()
                oldest = time.time() - self.result_ttl_s
                for job in [job for job in self._jobs.values() if job.is_over]:
                    if job.ended_at < oldest or len(self._jobs) > MAX_RESULTS:
                        await self.forget(job)
            except (OSError, sqlite3.Error) as error:  # a full disk may have room again later
                log.exception("sweep_failed", error=type(error).__name__, reason=str(error))

    async def _clean_up(self) -> None:
        if removed := await self.cleanup.run():
            await self.records.set_clean(removed)
            for job_id in removed:
                if job_id in self._jobs:
                    self._jobs[job_id].mark_clean()


def _loggable(error: errors.EaselError) -> dict[str, str]:
    """Return the error's detail, except a node's own words, which may quote a prompt."""
    return {} if isinstance(error, errors.EngineError) else {"detail": error.detail}
