"""One job drawn by ComfyUI, whatever happens to it meanwhile.

ComfyUI gets one prompt to run and one to have ready. A job is tried again where that can help:
once after it ran out of memory, once after a fault of the GPU, once after ComfyUI ended under it.
What ComfyUI's signs mean: see the table in `docs/comfyui.md`.
"""

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from gpu_server.comfy import failures
from gpu_server.comfy.answers import GraphRefused, HistoryEntry, Refused, Unreachable
from gpu_server.comfy.client import ComfyClient
from gpu_server.comfy.engine import Engine, describe
from gpu_server.comfy.events import EventChannel
from gpu_server.comfy.failures import Failure
from gpu_server.jobs.images import Drawn, Pictures, PicturesGone
from gpu_server.jobs.job import Job
from gpu_server.jobs.prompt import Lost, PromptRun, WorkerDead
from gpu_server.jobs.records import Records
from gpu_server.metrics import Metrics
from gpu_server.schemas import State
from gpu_server.timeouts import Patience
from web import errors
from workflows.catalog import Catalog
from workflows.render import Rendered, render

log = structlog.get_logger()
T = TypeVar("T")

AHEAD = 2
"""Prompts in ComfyUI at most: the one that runs and one that waits behind it."""
MAX_DEATHS = 2
"""A job is given up when ComfyUI was lost this often while it ran."""
MAX_ATTEMPTS = 8
"""A job is given up after so many prompts, whatever became of them."""


class Drawing:
    def __init__(
        self,
        *,
        catalog: Catalog,
        comfy: ComfyClient,
        engine: Engine,
        channel: EventChannel,
        records: Records,
        pictures: Pictures,
        metrics: Metrics,
        patience: Patience,
    ) -> None:
        self._catalog = catalog
        self._comfy = comfy
        self._engine = engine
        self._channel = channel
        self._records = records
        self._pictures = pictures
        self._metrics = metrics
        self._patience = patience
        self._places = asyncio.Semaphore(AHEAD)
        self.loaded_model: str | None = None

    async def draw(self, job: Job) -> list[bytes]:
        """The job's encoded pictures. Raises the EaselError it failed of, Cancelled too."""
        self._pictures.require_guard()
        gone = False
        while True:
            async with _Place(self._places, job):
                drawn = await self._attempts(job, output_class=self._output_class(again=gone))
            job.update(stage="encoding")
            try:
                return await self._collect(job, drawn)
            except PicturesGone as error:
                if gone:
                    raise errors.EngineLost("ComfyUI does not have its own pictures") from error
                gone = True
                log.warning("pictures_gone", attempt=job.attempt)
                await self._next_attempt(job)

    def _output_class(self, *, again: bool) -> str:
        """PreviewImage's files cannot be named, so a cached one that is gone stays gone."""
        wanted = self._engine.output_class
        return "SaveImage" if again and wanted == "PreviewImage" else wanted

    async def _collect(self, job: Job, drawn: Drawn) -> list[bytes]:
        """Asks a ComfyUI that is out of service too: a fault of the GPU leaves it its files."""
        trouble = _Trouble(self._patience.engine_back_s)
        while True:
            try:
                return await self._pictures.collect(job, drawn)
            except Unreachable as error:
                if job.cancelling:
                    raise errors.Cancelled from error
                await self._after_silence(job, trouble, error)
            await self._engine_ready(job)

    async def _attempts(self, job: Job, output_class: str) -> Drawn:
        trouble = _Trouble(self._patience.engine_back_s)
        deaths = 0
        tried: set[Failure] = set()
        while True:
            await self._engine_ready(job)
            run: PromptRun | None = None
            try:
                rendered = await self._render(job, output_class)
                run = PromptRun(
                    job, rendered, self._comfy, self._channel, self._engine, self._patience
                )
                entry = await self._run(run)
            except Unreachable as error:
                await self._after_silence(job, trouble, error)
                continue
            except Lost as loss:
                deaths += loss.was_running
                if deaths >= MAX_DEATHS:
                    raise errors.EngineLost("ComfyUI ended twice while drawing this") from loss
                self._engine.suspect()
            except WorkerDead as dead:
                if run is None or not await self._engine.restart("worker_dead", run.boot):
                    raise errors.EngineLost(
                        "ComfyUI takes jobs but runs none; it must be restarted"
                    ) from dead
            else:
                if entry.status == "success":
                    return _drawn(entry, rendered)
                failure = await self._after_failure(job, entry, run)
                if failure in tried or failure in (Failure.damaged_model, Failure.other):
                    raise failures.error_of(failure, entry, rendered.graph)
                tried.add(failure)
            await self._next_attempt(job)

    async def _after_silence(self, job: Job, trouble: "_Trouble", error: Unreachable) -> None:
        self._engine.suspect()
        if job.cancelling and isinstance(error, Refused):
            raise errors.Cancelled from error  # ComfyUI has ended, and its prompts with it
        if trouble.is_too_much():
            raise errors.EngineLost("ComfyUI could not be reached any more") from error
        await asyncio.sleep(self._patience.retry_s)

    async def _after_failure(self, job: Job, entry: HistoryEntry, run: PromptRun) -> Failure:
        """Put the engine in order after a failed prompt."""
        if entry.status == "interrupted":
            if job.cancelling:
                raise errors.Cancelled
            raise errors.EngineError("It was interrupted in ComfyUI by somebody else")
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
                self._metrics.out_of_memory.inc()
                with suppress(Unreachable):
                    await self._comfy.free(unload_models=True)
            case Failure.cuda_fault:
                if not await self._engine.restart("cuda_fault", run.boot):
                    raise failures.error_of(failure, entry, run.rendered.graph)
            case Failure.damaged_model:
                self._engine.damage(failures.files_of(run.rendered.graph, entry.node_class))
        return failure

    async def _next_attempt(self, job: Job) -> None:
        if job.attempt + 1 >= MAX_ATTEMPTS:
            raise errors.EngineLost("ComfyUI lost this job again and again")
        self._metrics.resubmitted.inc()
        job.update(attempt=job.attempt + 1, submitted=False, state=State.queued, stage="waiting")
        await self._records.set_attempt(job.id, job.attempt)

    async def _engine_ready(self, job: Job) -> None:
        """Wait for ComfyUI to be in service; raises Cancelled, or EngineLost in the end.

        Returns at once for a job that is to be stopped when ComfyUI was given it: to take it back
        needs a ComfyUI that answers, not one that is well.
        """
        in_service = self._engine.in_service
        while not in_service.is_set() and not (job.cancelling and job.submitted is not None):
            limit = self._patience.engine_back_s
            if not self._engine.will_return:
                limit = self._patience.latched_s
            left = self._engine.out_since + limit - time.monotonic()
            if left <= 0:
                why = self._engine.fault or "it does not answer"
                raise errors.EngineLost(f"ComfyUI is out of service: {why}")
            job.update(stage="waiting for ComfyUI")
            with suppress(TimeoutError, errors.Cancelled):
                async with asyncio.timeout(min(left, self._patience.tick_s)):
                    known = job.submitted is not None
                    await (unless_stopped(job, in_service.wait()) if known else in_service.wait())
        if job.cancelling and job.submitted is False:
            raise errors.Cancelled

    async def _render(self, job: Job, output_class: str) -> Rendered:
        """The graph, checked against ComfyUI's own definitions, its photo uploaded."""
        mode = self._catalog.modes[job.order.request.mode]
        image = await self._upload(job) if mode.takes_image else ""
        rendered = render(
            mode,
            job.order.request,
            size=job.order.size,
            prefix=job.folder,
            image=image,
            output_class=output_class,
        )
        faults = await self._engine.definitions.faults_in(rendered.graph)
        if faults:
            self._engine.recheck_styles()
            refusal = GraphRefused("; ".join(map(describe, faults)), faults)
            raise failures.refused(refusal)
        return rendered

    async def _run(self, run: PromptRun) -> HistoryEntry:
        job = run.job
        mode, style = job.style
        prompt = job.order.request.values.get("prompt", "")
        words = {"easel": {"mode": mode, "style": style, "prompt": prompt}}
        job.engine = self._engine.name  # of a job from before a restart it was not known
        try:
            entry = await run.to_end(words)
        except GraphRefused as refusal:
            self._engine.recheck_styles()
            raise failures.refused(refusal) from refusal
        self.loaded_model = self._catalog.modes[mode].graph_spec(style).model
        return entry

    async def _upload(self, job: Job) -> str:
        photo = await self._records.photo(job.id)
        if photo is None:
            raise errors.EngineError("The photo is no longer kept")
        # Without our nodes nobody can remove files; temp is emptied when ComfyUI starts.
        folder = "input" if self._engine.has_our_nodes else "temp"
        return (await self._comfy.upload(photo, "photo.png", job.folder, folder)).name


class _Place:
    """One of the places in ComfyUI, as a context; raises Cancelled when the job is stopped."""

    def __init__(self, places: asyncio.Semaphore, job: Job) -> None:
        self._places = places
        self._job = job

    async def __aenter__(self) -> None:
        if self._job.submitted is None:
            # From before a restart: ComfyUI may have it already, stopped or not.
            await self._places.acquire()
        elif self._places.locked():
            await unless_stopped(self._job, self._places.acquire())
        else:
            await self._places.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._places.release()


class _Trouble:
    """A time in which ComfyUI, though found in service, again and again does not answer."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._began = 0.0
        self._last = 0.0

    def is_too_much(self) -> bool:
        now = time.monotonic()
        if now - self._last > self._limit_s:
            self._began = now
        self._last = now
        return now - self._began > self._limit_s


async def unless_stopped(job: Job, waiting: Awaitable[T]) -> T:
    """The result of `waiting`; raises Cancelled as soon as the job is to be stopped."""
    task = asyncio.ensure_future(waiting)
    stop = asyncio.ensure_future(job.stop.wait())
    try:
        both: set[asyncio.Future[Any]] = {task, stop}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise errors.Cancelled
    finally:
        stop.cancel()
        if not task.done():
            task.cancel()


def _drawn(entry: HistoryEntry, rendered: Rendered) -> Drawn:
    files = {file.node_id: file for file in entry.outputs}
    if any(node not in files for node in rendered.outputs):
        raise errors.EngineError("ComfyUI ended without handing over every picture")
    return Drawn(tuple(files[node] for node in rendered.outputs), rendered.seeds)
