"""The jobs of this pod: admitted, run, cancelled, kept, forgotten, and recovered on restart.

Every job ends in images or in an error that says why.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from uuid import UUID

import structlog

from gpu_server.comfy.engine import Engine
from gpu_server.jobs.cleanup import Cleanup, Leftover
from gpu_server.jobs.execution import JobExecution
from gpu_server.jobs.job import Job, Submission, attempt_ids
from gpu_server.jobs.records import Forgotten, Record, Records
from gpu_server.metrics import Metrics
from gpu_server.schemas import JobRequest, State
from gpu_server.timeouts import Timeouts
from web import errors

log = structlog.get_logger()

MAX_RESULTS = 2000
"""Most ended jobs to keep, even before they expire; the oldest go first."""


class Runner:
    """Owns every job of this pod and the task that runs it."""

    def __init__(
        self,
        *,
        engine: Engine,
        execution: JobExecution,
        cleanup: Cleanup,
        records: Records,
        metrics: Metrics,
        timeouts: Timeouts,
        max_jobs: int,
        result_ttl_s: float,
    ) -> None:
        self._engine = engine
        self._execution = execution
        self._cleanup = cleanup
        self._records = records
        self._metrics = metrics
        self._timeouts = timeouts
        self._max_jobs = max_jobs
        self._ttl_s = result_ttl_s
        self._jobs: dict[UUID, Job] = {}
        self._unfinished: dict[UUID, Job] = {}
        self._tasks: asyncio.TaskGroup
        self.ready = asyncio.Event()
        """Set when the jobs on disk are known."""

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

    async def admit(
        self,
        job_id: UUID,
        request: JobRequest,
        photo: bytes | None,
        *,
        size: tuple[int, int],
        fingerprint: str,
        is_kept: bool,
    ) -> Job:
        """Admit a job, or return the one already known under its id.

        A job that is not kept does not outlive a restart.

        Raises:
            Conflict: The id belongs to another request.
            QueueFull: This pod has its fill of unfinished jobs.
            ModelMissing: The style's model file is missing.
            NoGpu: ComfyUI cannot draw this now.
        """
        if job_id not in self._jobs and job_id in self._cleanup:
            # Deleted and requested again: cleaning up later would remove the new job's files.
            await self._clean_up()
            if job_id in self._cleanup:
                raise errors.NoGpu("ComfyUI is still stopping the deleted job", retry_after=2)
        known = self._jobs.get(job_id)
        if known is not None:
            if known.fingerprint != fingerprint:
                raise errors.Conflict("This id was used for another request")
            return known
        self._engine.require_available(request.mode, request.style)
        waiting = len(self._unfinished)
        if waiting >= self._max_jobs:
            raise errors.QueueFull(f"This GPU has {waiting} jobs already", retry_after=5)
        job = Job(
            job_id,
            request,
            size=size,
            fingerprint=fingerprint,
            engine=self._engine.name,
            is_kept=is_kept,
        )
        self._jobs[job_id] = self._unfinished[job_id] = job
        written = self._records.add(job, photo)
        if is_kept:
            try:
                await asyncio.shield(written)
            except (OSError, sqlite3.Error):
                del self._jobs[job_id], self._unfinished[job_id]
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
        data = await self._records.image(job.id, number)
        if data is None:
            raise errors.NotFound(f"The job's picture {number} is gone")
        return data

    async def forget_ended(self, job_ids: Iterable[UUID]) -> None:
        """Forget those of these jobs that have ended, with their images."""
        known = [job for job_id in job_ids if (job := self._jobs.get(job_id)) is not None]
        await asyncio.gather(*(self.forget(job) for job in known if job.is_over))

    def drop(self, job: Job) -> None:
        """Stop the job if it runs and forget it once it has ended; returns at once."""
        if not job.is_over:
            job.ask_to_stop()
        self._tasks.create_task(self._forget_when_done(job))

    async def _forget_when_done(self, job: Job) -> None:
        await job.done.wait()
        await self.forget(job)

    async def forget(self, job: Job) -> None:
        """Drop images and request now; the row stays until ComfyUI's files are removed."""
        self._jobs.pop(job.id, None)
        job.drop_image_bytes()
        with suppress(OSError, sqlite3.Error):  # the result expires after the next restart
            await self._records.forget(job.id, is_clean=job.is_clean)

    async def run(self, kept: Sequence[Record | Forgotten]) -> None:
        """Recover the jobs on disk, then work until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for record in kept:
                if isinstance(record, Forgotten):
                    prompts = attempt_ids(record.id, record.attempt)
                    self._cleanup.add(Leftover(record.id, prompts, prompts))
                else:
                    self._recover(record)
            self.ready.set()
            await self._sweep()

    def _recover(self, record: Record) -> None:
        job = Job(
            record.id,
            record.request,
            size=record.size,
            fingerprint=record.fingerprint,
            engine=self._engine.name,
            is_kept=record.is_kept,
            attempt=record.attempt,
            created_at=record.created_at,
            submission=Submission.unknown,
        )
        self._jobs[job.id] = job
        if record.outcome is not None:
            job.restore(record.outcome, ended_at=record.ended_at, is_clean=record.is_clean)
            if not job.is_clean:
                self._cleanup.add(Leftover.of(job))
            return
        log.info("job_recovered", generation_id=str(job.id))
        self._unfinished[job.id] = job
        if not job.is_kept:
            job.ask_to_stop()
            self._tasks.create_task(self._forget_when_done(job))
        self._start(job)

    def _start(self, job: Job) -> None:
        self._tasks.create_task(self._run(job), name=f"job {job.id}")

    async def _run(self, job: Job) -> None:
        structlog.contextvars.bind_contextvars(generation_id=str(job.id))
        try:
            finished = await self._execution.run(job)
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
        writing = self._write(job) if job.is_kept else None
        self._unfinished.pop(job.id, None)
        self._cleanup.add(Leftover.of(job))
        self._count(job)
        if writing is not None:
            await self._written(job, writing)

    def _write(self, job: Job) -> asyncio.Future[None]:
        return self._records.end(job.id, job.view(), job.image_bytes, job.ended_at)

    async def _written(self, job: Job, writing: asyncio.Future[None]) -> None:
        """Free the images' memory once they are on disk; keep them if that fails."""
        try:
            await writing
        except (OSError, sqlite3.Error) as fault:
            log.exception("result_not_kept", error=type(fault).__name__, reason=str(fault))
        else:
            job.drop_image_bytes()

    def _count(self, job: Job) -> None:
        mode, style = job.style
        self._metrics.jobs.labels(mode, style, job.error.code if job.error else job.status).inc()
        self._metrics.previews_dropped.inc(job.previews_dropped)
        for stage in ("queued", "model", "gpu", "encode"):
            seconds = getattr(job.timings, f"{stage}_ms") / 1000
            self._metrics.seconds.labels(style, stage).observe(seconds)
        timings = job.timings.model_dump()
        log.info("job_ended", mode=mode, style=style, outcome=job.status, **timings)

    async def _sweep(self) -> None:
        """Remove expired results, and what ended jobs left in ComfyUI, until cancelled."""
        while True:
            await asyncio.sleep(self._timeouts.sweep_s)
            try:
                await self._clean_up()
                await self._remove_expired()
            except (OSError, sqlite3.Error) as error:  # a full disk may have room again later
                log.exception("sweep_failed", error=type(error).__name__, reason=str(error))

    async def _clean_up(self) -> None:
        removed = await self._cleanup.run()
        if not removed:
            return
        await self._records.set_clean(removed)
        for job_id in removed:
            if job_id in self._jobs:
                self._jobs[job_id].mark_clean()

    async def _remove_expired(self) -> None:
        ended = [job for job in self._jobs.values() if job.is_over]
        oldest = time.time() - self._ttl_s
        for job in ended:
            if job.ended_at < oldest or len(self._jobs) > MAX_RESULTS:
                await self.forget(job)


def _loggable(error: errors.EaselError) -> dict[str, str]:
    """Return the error's detail, except a node's own words, which may quote a prompt."""
    return {} if isinstance(error, errors.EngineError) else {"detail": error.detail}
