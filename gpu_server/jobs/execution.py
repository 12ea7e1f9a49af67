"""Run one job through ComfyUI, whatever happens to ComfyUI meanwhile.

ComfyUI gets one prompt to run and one to have ready. A job is retried where that can help: once
after it ran out of memory, once after a GPU fault, once after ComfyUI ended under it.
`docs/comfyui.md` lists ComfyUI's signs of failure and what each means.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import structlog

from gpu_server.comfy import failures
from gpu_server.comfy.answers import GraphRefused, HistoryEntry, Refused, Unreachable
from gpu_server.comfy.client import ComfyClient
from gpu_server.comfy.engine import Engine
from gpu_server.comfy.events import EventChannel
from gpu_server.comfy.failures import Failure
from gpu_server.comfy.model_files import files_of
from gpu_server.jobs.images import Finished, ImagesGone, JobImages, Outputs
from gpu_server.jobs.job import Job, Submission
from gpu_server.jobs.modes import fitting_mode
from gpu_server.jobs.prompt import Lost, PromptRun, WorkerDead
from gpu_server.jobs.records import Records
from gpu_server.metrics import Metrics
from gpu_server.timeouts import Timeouts
from web import errors
from workflows.catalog import Mode
from workflows.live import LiveCatalog
from workflows.render import Rendered, render

log = structlog.get_logger()

MAX_PROMPTS = 2
"""Most prompts in ComfyUI at once: one that runs and one that waits behind it."""
_MAX_DEATHS = 2
"""How often ComfyUI may end under a running job before the job fails."""
_MAX_ATTEMPTS = 8
"""Attempts after which a job fails, whatever became of them."""


@dataclass(kw_only=True)
class JobExecution:
    """Runs jobs, each in the task of its caller."""

    live: LiveCatalog
    comfy: ComfyClient
    engine: Engine
    channel: EventChannel
    records: Records
    images: JobImages
    metrics: Metrics
    timeouts: Timeouts
    loaded_model: str | None = None
    """The model of the last graph that ran; None after models were unloaded."""
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_PROMPTS))

    async def free(self, *, unload_models: bool) -> None:
        """Release ComfyUI's memory. Raises EngineLost if it does not answer."""
        try:
            await self.comfy.free(unload_models=unload_models)
        except Unreachable as error:
            raise errors.EngineLost("ComfyUI does not answer") from error
        if unload_models:
            self.loaded_model = None
            self.engine.forgive()

    async def run(self, job: Job) -> Finished:
        """Return the job's finished images. Raises the EaselError that ends it, or Cancelled."""
        self.images.require_guard()
        gone = False
        while True:
            async with self._slot(job):
                outputs = await self._attempts(job, again=gone)
            job.show_stage("encoding")
            try:
                return await self._finish(job, outputs)
            except ImagesGone as error:
                if gone:
                    raise errors.EngineLost("ComfyUI does not have its own pictures") from error
                gone = True
                log.warning("images_gone", attempt=job.attempt)
                await self._next_attempt(job)

    @asynccontextmanager
    async def _slot(self, job: Job) -> AsyncIterator[None]:
        """Hold a slot. Raises Cancelled if the job is to be stopped before one is free."""
        # A recovered job takes a slot even when it is to be stopped: ComfyUI may have its prompt.
        if job.submission is not Submission.unknown and self._slots.locked():
            await job.unless_stopped(self._slots.acquire())
        else:
            await self._slots.acquire()
        try:
            yield
        finally:
            self._slots.release()

    def _output_class(self, *, again: bool) -> str:
        """Avoid PreviewImage for a retry: it would reuse the cached file name that is gone."""
        wanted = self.engine.output_class
        return "SaveImage" if again and wanted == "PreviewImage" else wanted

    async def _finish(self, job: Job, outputs: Outputs) -> Finished:
        """Fetch from a ComfyUI out of service too: after a GPU fault it still serves files."""
        trouble = _Trouble(self.timeouts.engine_back_s)
        while True:
            try:
                return await self.images.finish(job, outputs)
            except Unreachable as error:
                if job.is_stopping:
                    raise errors.Cancelled from error
                await self._after_silence(job, trouble, error)
            await self._engine_ready(job)

    async def _attempts(self, job: Job, *, again: bool) -> Outputs:
        trouble = _Trouble(self.timeouts.engine_back_s)
        deaths = 0
        tried: set[Failure] = set()
        while True:
            await self._engine_ready(job)
            run: PromptRun | None = None
            try:
                rendered = await self._render(job, self._output_class(again=again))
                run = PromptRun(
                    job=job,
                    rendered=rendered,
                    comfy=self.comfy,
                    channel=self.channel,
                    engine=self.engine,
                    timeouts=self.timeouts,
                )
                entry = await self._run(run)
            except Unreachable as error:
                await self._after_silence(job, trouble, error)
                continue
            except Lost as loss:
                deaths += loss.was_running
                _require_alive(deaths, loss)
                self.engine.suspect()
            except WorkerDead as dead:
                deaths += dead.was_running
                will_return = await self.engine.restart("worker_dead", run.boot if run else 0)
                if job.is_stopping:
                    raise errors.Cancelled from dead
                if not will_return:
                    raise errors.EngineLost(
                        "ComfyUI takes jobs but runs none; it must be restarted"
                    ) from dead
                _require_alive(deaths, dead)
            else:
                if entry.status == "success":
                    return _outputs(entry, rendered)
                failure = await self._after_failure(job, entry, run)
                if failure in tried or failure in (Failure.damaged_model, Failure.other):
                    raise failures.error_of(failure, entry, rendered.graph)
                tried.add(failure)
            await self._next_attempt(job)

    async def _after_silence(self, job: Job, trouble: "_Trouble", error: Unreachable) -> None:
        self.engine.suspect()
        if job.is_stopping and isinstance(error, Refused):
            raise errors.Cancelled from error  # ComfyUI has ended, and its prompts with it
        if trouble.is_too_much():
            raise errors.EngineLost("ComfyUI can no longer be reached") from error
        await asyncio.sleep(self.timeouts.retry_s)

    async def _after_failure(self, job: Job, entry: HistoryEntry, run: PromptRun) -> Failure:
        if entry.status == "interrupted":
            if job.is_stopping:
                raise errors.Cancelled
            raise errors.EngineError("Someone else interrupted it in ComfyUI")
        failure = failures.failure_of(entry)
        log.warning(
            "comfyui_error",
            failure=failure.name,
            exception_type=entry.exception_type,
            node=entry.node_class,
            attempt=job.attempt,
        )
        match failure:
            case Failure.out_of_memory:
                self.metrics.out_of_memory.inc()
                with suppress(Unreachable):
                    await self.comfy.free(unload_models=True)
            case Failure.cuda_fault:
                if not await self.engine.restart("cuda_fault", run.boot):
                    raise failures.error_of(failure, entry, run.rendered.graph)
            case Failure.damaged_model:
                self.engine.damage(files_of(run.rendered.graph, entry.node_class))
        return failure

    async def _next_attempt(self, job: Job) -> None:
        if job.attempt + 1 >= _MAX_ATTEMPTS:
            raise errors.EngineLost("ComfyUI lost this job again and again")
        self.metrics.resubmitted.inc()
        job.retry()
        await self.records.set_attempt(job.id, job.attempt)

    async def _engine_ready(self, job: Job) -> None:
        """Wait for ComfyUI to be in service. Raises Cancelled, or EngineLost on timeout.

        Returns at once for a stopping job whose submission is known: taking its prompt back needs
        a ComfyUI that answers, not one that is in order.
        """
        in_service = self.engine.in_service
        is_known = job.submission is not Submission.unknown
        while not in_service.is_set() and not (job.is_stopping and is_known):
            timeout_s = self.timeouts.engine_back_s
            if not self.engine.will_return:
                timeout_s = self.timeouts.latched_s
            left_s = self.engine.out_since + timeout_s - time.monotonic()
            if left_s <= 0:
                why = self.engine.fault or "it does not answer"
                raise errors.EngineLost(f"ComfyUI is out of service: {why}")
            job.show_stage("waiting for ComfyUI")
            with suppress(TimeoutError, errors.Cancelled):
                async with asyncio.timeout(min(left_s, self.timeouts.tick_s)):
                    waiting = in_service.wait()
                    await (job.unless_stopped(waiting) if is_known else waiting)
        if job.is_stopping and job.submission is Submission.no:
            raise errors.Cancelled

    async def _render(self, job: Job, output_class: str) -> Rendered:
        """Upload the photos and return the graph, checked against ComfyUI's node definitions."""
        mode = self._mode(job)
        photos = await self._upload(job, mode) if mode.takes_image else {}
        rendered = render(
            mode,
            job.request,
            size=job.size,
            prefix=job.folder,
            photos=photos,
            output_class=output_class,
        )
        faults = await self.engine.definitions.faults_in(rendered.graph)
        if faults:
            self.engine.recheck_styles()
            raise failures.refused(GraphRefused("; ".join(map(str, faults)), faults))
        return rendered

    def _mode(self, job: Job) -> Mode:
        """Return the mode it was accepted with; after a restart, the one there is now."""
        return job.mode or job.assign_mode(fitting_mode(self.live.current, job.request))

    async def _run(self, run: PromptRun) -> HistoryEntry:
        job = run.job
        mode, style = job.style
        easel = {"mode": mode, "style": style, "prompt": job.request.values.get("prompt", "")}
        job.assign_engine(self.engine.name)  # unknown until now for a recovered job
        try:
            entry = await run.to_end({"easel": easel})
        except GraphRefused as refusal:
            self.engine.recheck_styles()
            raise failures.refused(refusal) from refusal
        self.loaded_model = job.model
        return entry

    async def _upload(self, job: Job, mode: Mode) -> dict[str, str]:
        photos = await self.records.photos(job.id)
        if any(p.required and name not in photos for name, p in mode.photos.items()):
            raise errors.EngineError("A photo is no longer kept")
        # Without our nodes no file can be removed, but ComfyUI empties temp when it starts.
        folder = "input" if self.engine.has_our_nodes else "temp"
        names, upload = mode.photos.keys() & photos.keys(), self.comfy.upload
        return {n: await upload(photos[n], f"{n}.png", job.folder, folder) for n in names}


@dataclass
class _Trouble:
    """Tracks for how long a ComfyUI reported in service has kept failing to answer."""

    limit_s: float
    _began: float = 0.0
    _last: float = 0.0

    def is_too_much(self) -> bool:
        now = time.monotonic()
        if now - self._last > self.limit_s:
            self._began = now
        self._last = now
        return now - self._began > self.limit_s


def _require_alive(deaths: int, last: Exception) -> None:
    """Raise EngineLost if ComfyUI has ended under this job too often."""
    if deaths >= _MAX_DEATHS:
        raise errors.EngineLost("ComfyUI ended twice while drawing this") from last


def _outputs(entry: HistoryEntry, rendered: Rendered) -> Outputs:
    files = {file.node_id: file for file in entry.outputs}
    if any(node not in files for node in rendered.outputs):
        raise errors.EngineError("ComfyUI ended without handing over every picture")
    pairs = zip(rendered.seeds, rendered.outputs, strict=True)
    return [(seed, files[node]) for seed, node in pairs]
