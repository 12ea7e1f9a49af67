"""Jobs through ComfyUI: admit, run, watch, cancel, recover.

ComfyUI gets one job to run and one to have ready, the rest wait here. Whatever happens to it, a
job ends in pictures or in an error that says why. What ComfyUI's signs mean: see the table in
`docs/comfyui.md`.
"""

import asyncio
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NoReturn, TypeVar
from uuid import UUID

import structlog

from gpu_server import outputs, schemas
from gpu_server.comfy_client import (
    ComfyClient,
    ComfyError,
    FileGone,
    GraphRefused,
    HistoryEntry,
    Unreachable,
)
from gpu_server.engine import Engine, describe
from gpu_server.event_channel import EventChannel
from gpu_server.jobs import Job, Order, fingerprint
from gpu_server.metrics import Metrics
from gpu_server.prompt_run import Lost, PromptRun, WorkerDead
from gpu_server.records import Record, Records
from gpu_server.schemas import State
from web import errors
from workflows.catalog import Catalog
from workflows.render import Rendered, render

log = structlog.get_logger()
T = TypeVar("T")

AHEAD = 2
"""Prompts in ComfyUI at most: the one that runs and one that waits behind it."""
MAX_LOSSES = 2
"""A job is given up when ComfyUI was lost this often while it ran."""
CANCEL_WAIT_S = 30.0
RETRY_S = 0.2
SWEEP_S = 1.0


class Runner:
    def __init__(
        self,
        *,
        catalog: Catalog,
        comfy: ComfyClient,
        engine: Engine,
        channel: EventChannel,
        records: Records,
        metrics: Metrics,
        max_jobs: int,
        result_ttl_s: float,
        encoders: ThreadPoolExecutor,
    ) -> None:
        self._catalog = catalog
        self._comfy = comfy
        self._engine = engine
        self._channel = channel
        self._records = records
        self._metrics = metrics
        self._max_jobs = max_jobs
        self._ttl_s = result_ttl_s
        self._encoders = encoders
        self._jobs: dict[UUID, Job] = {}
        self._places = asyncio.Semaphore(AHEAD)
        self._tasks: asyncio.TaskGroup
        self._to_clean: list[Job] = []
        self.ready = asyncio.Event()
        """The jobs of before are known again."""
        self.loaded_model: str | None = None

    # -- what the routes use -------------------------------------------------------------

    def get(self, job_id: UUID) -> Job:
        job = self._jobs.get(job_id)
        if job is None:
            raise errors.NotFound("This GPU server has no such job (any more)")
        return job

    def unfinished(self) -> list[Job]:
        return [job for job in self._jobs.values() if not job.state.ended]

    def position(self, job: Job) -> int:
        """Jobs of this pod that come before it."""
        return sum(1 for other in self.unfinished() if other.created_at < job.created_at)

    async def admit(self, job_id: UUID, order: Order, photo: bytes | None, body: Any) -> Job:
        """Take a job on, or find it again under its id.

        Raises Conflict for another request under a known id, QueueFull, ModelMissing or NoGpu.
        """
        mark = fingerprint(body, photo)
        known = self._jobs.get(job_id)
        if known is not None:
            if known.fingerprint != mark:
                raise errors.Conflict("This id was used for another request")
            return known
        self._require_available(order)
        waiting = len(self.unfinished())
        if waiting >= self._max_jobs:
            raise errors.QueueFull(f"This GPU has {waiting} jobs already", retry_after=5)
        job = Job(job_id, order, mark, engine=self._engine.name)
        self._jobs[job_id] = job
        record = Record(job_id, order.as_json(), mark, created=job.created_at)
        await self._records.add(record, photo)
        self._start(job)
        return job

    def _require_available(self, order: Order) -> None:
        mode, style = order.request.mode, order.request.style
        state = self._engine.style(mode, style)
        if state.missing:
            raise errors.ModelMissing(f"The style '{style}' is not ready: {state.reason}")
        if not state.available:
            reason = self._engine.fault or state.reason
            raise errors.NoGpu(f"The style '{style}' cannot be drawn now: {reason}", retry_after=10)

    async def image(self, job: Job, number: int) -> bytes:
        """The encoded picture; raises NotFound."""
        data = await self._records.image(job.id, number) if job.state is State.succeeded else None
        if data is None:
            raise errors.NotFound(f"The job has no picture {number}")
        return data

    async def end(self, job: Job) -> schemas.Ended:
        """Cancel the job, or forget it with its pictures when it has ended. Says what happened."""
        began = time.monotonic()
        if job.state.ended:
            await self.forget(job)
            return _ended(job, "deleted", "The job and its pictures were deleted", began)
        job.update(cancelling=True)
        job.stop.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_WAIT_S):
                await job.done.wait()
        if job.state is State.cancelled:
            return _ended(job, "cancelled", "The job was stopped", began)
        if job.state.ended:
            return _ended(job, "already_ended", "It had ended before it could be stopped", began)
        return _ended(job, "stopping", f"ComfyUI is {job.stage} and stops after that", began)

    def drop(self, job: Job) -> None:
        """Stop the job if it runs, and forget it when it has ended; returns at once."""
        job.update(cancelling=True)
        job.stop.set()
        self._tasks.create_task(self._forget_when_done(job))

    async def _forget_when_done(self, job: Job) -> None:
        await job.done.wait()
        await self.forget(job)

    async def forget(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        await self._records.delete(job.id)

    # -- life ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Take up the jobs of before, then work until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for record in await self._records.all():
                self._take_up(record)
            self.ready.set()
            self._tasks.create_task(self._sweep())

    def _take_up(self, record: Record) -> None:
        order = Order.from_json(record.request)
        job = Job(
            record.id, order, record.fingerprint, record.attempt, record.created, submitted=True
        )
        self._jobs[job.id] = job
        if record.outcome is not None:
            _restore(job, record.outcome)
        else:
            log.info("job_taken_up", generation_id=str(job.id))
            self._start(job)

    def _start(self, job: Job) -> None:
        self._tasks.create_task(self._run(job), name=f"job {job.id}")

    async def _run(self, job: Job) -> None:
        structlog.contextvars.bind_contextvars(generation_id=str(job.id))
        images: list[bytes] = []
        try:
            entry, rendered = await self._draw(job)
            images = await self._collect(job, entry, rendered)
            changes: dict[str, Any] = {"state": State.succeeded, "progress": 1.0, "stage": "done"}
        except errors.Cancelled:
            changes = {"state": State.cancelled, "stage": "cancelled"}
        except errors.EaselError as error:
            log.warning("job_failed", code=error.code, detail=error.detail)
            changes = {"state": State.failed, "stage": "failed", "error": error}
        except (ComfyError, outputs.BadPixels) as error:
            log.warning("job_failed", code="engine_lost", error=str(error))
            lost = errors.EngineLost("ComfyUI did not hand over the pictures it had drawn")
            changes = {"state": State.failed, "stage": "failed", "error": lost}
        except Exception as error:  # the outermost edge of a job: it ends, others go on
            log.exception("job_broke", error=type(error).__name__)
            changes = {"state": State.failed, "stage": "failed", "error": errors.Internal()}
        job.timings.total_ms = _ms(time.time() - job.created_at)
        outcome = {**job.view().model_dump(mode="json"), "status": changes["state"]}
        if "error" in changes:
            outcome["error"] = changes["error"].problem().model_dump()
        await self._records.end(job.id, outcome, images)
        job.update(**changes, preview=None)
        self._count(job)
        self._to_clean.append(job)

    def _count(self, job: Job) -> None:
        mode, style = job.style
        self._metrics.jobs.labels(mode, style, job.error.code if job.error else job.state).inc()
        for stage in ("queued", "model", "gpu", "encode"):
            seconds = getattr(job.timings, f"{stage}_ms") / 1000
            self._metrics.seconds.labels(style, stage).observe(seconds)
        log.info("job_ended", mode=mode, style=style, outcome=job.state, **job.timings.model_dump())

    # -- drawing -------------------------------------------------------------------------

    async def _draw(self, job: Job) -> tuple[HistoryEntry, Rendered]:
        """The job's successful end in ComfyUI. Raises what it failed of."""
        await self._or_stopped(job, self._places.acquire())
        try:
            return await self._attempts(job)
        finally:
            self._places.release()

    async def _attempts(self, job: Job) -> tuple[HistoryEntry, Rendered]:
        losses = retries = 0
        while True:
            await self._or_stopped(job, self._engine.in_service.wait())
            try:
                entry, rendered = await self._attempt(job)
            except (Lost, Unreachable) as loss:
                losses += isinstance(loss, Lost) and loss.was_running
                if losses >= MAX_LOSSES:
                    raise errors.EngineLost("ComfyUI ended twice while drawing this") from loss
                self._engine.suspect()
                if isinstance(loss, Lost):
                    await self._next_attempt(job)
                else:
                    await asyncio.sleep(RETRY_S)
                continue
            except WorkerDead as dead:
                if not await self._engine.restart("worker_dead"):
                    raise errors.EngineLost(
                        "ComfyUI takes jobs but runs none; it must be restarted"
                    ) from dead
                await self._next_attempt(job)
                continue
            if entry.status == "success":
                return entry, rendered
            await self._after_failure(job, entry, rendered, retry=retries == 0)
            retries += 1
            await self._next_attempt(job)

    async def _next_attempt(self, job: Job) -> None:
        self._metrics.resubmitted.inc()
        job.update(
            attempt=job.attempt + 1,
            submitted=False,
            state=State.queued,
            stage="waiting",
            progress=0.0,
        )
        await self._records.set_attempt(job.id, job.attempt)

    async def _after_failure(
        self, job: Job, entry: HistoryEntry, rendered: Rendered, *, retry: bool
    ) -> None:
        """Put the engine in order after a failed prompt; returns when the job may be tried again.

        Raises the error the job ends with otherwise.
        """
        if entry.status == "interrupted":
            if job.cancelling:
                raise errors.Cancelled
            raise errors.EngineError("It was interrupted in ComfyUI by somebody else")
        kind, message = entry.exception_type, entry.exception_message
        log.warning("comfyui_error", exception=kind, node=entry.node_class, attempt=job.attempt)
        if is_out_of_memory(kind, message):
            self._metrics.out_of_memory.inc()
            with suppress(Unreachable):
                await self._comfy.free(unload_models=True)
            if retry:
                return
            raise errors.OutOfMemory("The GPU's memory is not enough for this; try a smaller size")
        if is_cuda_fault(message):
            if await self._engine.restart("cuda_fault") and retry:
                return
            raise errors.EngineError("The GPU reported a fault; ComfyUI must be restarted")
        if is_damaged_model(kind, message):
            files = _loaded_files(rendered, entry.node_class)
            self._engine.damage(files, "it is damaged")
            names = ", ".join(files) or "a model file"
            raise errors.ModelMissing(
                f"{names} is damaged; run `python -m gpu_server.models verify` and pull it again"
            )
        raise errors.EngineError(f"ComfyUI failed in {entry.node_class}: {shown(kind, message)}")

    async def _attempt(self, job: Job) -> tuple[HistoryEntry, Rendered]:
        mode = self._catalog.modes[job.order.request.mode]
        image = await self._upload(job) if mode.takes_image else ""
        rendered = render(
            mode,
            job.order.request,
            size=job.order.size,
            prefix=job.folder,
            image=image,
            output_class=self._engine.output_class,
        )
        faults = await self._engine.definitions.faults_in(rendered.graph)
        if faults:
            self._engine.definitions.refresh()
            self._refuse(GraphRefused("; ".join(map(describe, faults)), faults))
        run = PromptRun(job, rendered, self._comfy, self._channel, self._engine)
        try:
            entry = await run.to_end(self._client_words(job))
        except GraphRefused as refusal:
            self._engine.definitions.refresh()
            self._refuse(refusal)
        finally:
            self._metrics.previews_dropped.inc(run.previews_dropped)
        self.loaded_model = mode.graph_spec(job.order.request.style).model
        return entry, rendered

    def _refuse(self, refusal: GraphRefused) -> NoReturn:
        missing = [fault.missing_choice for fault in refusal.faults if fault.missing_choice]
        if missing:
            raise errors.ModelMissing(
                f"ComfyUI has no {missing[0]}; fetch it with `python -m gpu_server.models pull`"
            )
        raise errors.EngineError(f"ComfyUI does not take this graph: {refusal}")

    def _client_words(self, job: Job) -> dict[str, Any]:
        values = job.order.request.values
        mode, style = job.style
        return {"easel": {"mode": mode, "style": style, "prompt": values.get("prompt", "")}}

    async def _upload(self, job: Job) -> str:
        photo = await self._records.photo(job.id)
        if photo is None:
            raise errors.EngineError("The photo is no longer kept")
        # Without our nodes nobody can remove files; temp is emptied when ComfyUI starts.
        ours = self._engine.info is not None and self._engine.info.has_our_nodes
        folder = "input" if ours else "temp"
        return (await self._comfy.upload(photo, "photo.png", job.folder, folder)).name

    async def _or_stopped(self, job: Job, waiting: Awaitable[T]) -> T:
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

    # -- pictures ------------------------------------------------------------------------

    async def _collect(self, job: Job, entry: HistoryEntry, rendered: Rendered) -> list[bytes]:
        """Fetch and encode the pictures, in the order of their seeds."""
        files = {file.node_id: file for file in entry.outputs}
        missing = [node for node in rendered.outputs if node not in files]
        if missing:
            raise errors.EngineError("ComfyUI ended without handing over every picture")
        job.update(stage="encoding")
        began = time.monotonic()
        software = f"Easel ({self._engine.name})"
        encoded = await asyncio.gather(
            *(self._encode(job, files[node], software) for node in rendered.outputs)
        )
        job.timings.encode_ms = _ms(time.monotonic() - began)
        media_type = schemas.media_type(job.order.format)
        job.images = [
            schemas.ImageInfo(
                seed=seed,
                width=image.width,
                height=image.height,
                media_type=media_type,
                bytes=len(image.data),
            )
            for seed, image in zip(rendered.seeds, encoded, strict=True)
        ]
        return [image.data for image in encoded]

    async def _encode(self, job: Job, file: Any, software: str) -> outputs.Encoded:
        try:
            pixels = await self._comfy.view(file)
        except FileGone as error:
            raise errors.EngineLost("ComfyUI's picture was gone before it was fetched") from error

        def work() -> outputs.Encoded:
            return outputs.encode(outputs.open_pixels(pixels), job.order.format, software)

        return await asyncio.get_running_loop().run_in_executor(self._encoders, work)

    # -- tidying -------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Remove what is over its time, and what ended jobs left in ComfyUI."""
        while True:
            await asyncio.sleep(SWEEP_S)
            await self._clean_engine()
            oldest = time.time() - self._ttl_s
            for job in list(self._jobs.values()):
                if job.state.ended and job.created_at + job.timings.total_ms / 1000 < oldest:
                    await self.forget(job)

    async def _clean_engine(self) -> None:
        jobs, self._to_clean = self._to_clean, []
        if not jobs:
            return
        ours = self._engine.info is not None and self._engine.info.has_our_nodes
        with suppress(ComfyError):
            await self._comfy.forget([prompt_id for job in jobs for prompt_id in job.prompt_ids])
            for job in jobs if ours else []:
                await self._comfy.remove_files(str(job.id))


def is_out_of_memory(kind: str, message: str) -> bool:
    low = message.lower()
    return (
        kind.endswith("OutOfMemoryError") or "out of memory" in low or "can't allocate mem" in low
    )


def is_cuda_fault(message: str) -> bool:
    signs = (
        "CUDA error",
        "illegal memory access",
        "device-side assert",
        "cuDNN error",
        "HIP error",
    )
    return any(sign in message for sign in signs)


def is_damaged_model(kind: str, message: str) -> bool:
    return "SafetensorError" in kind or "Could not detect model type" in message


def shown(kind: str, message: str) -> str:
    """An exception of ComfyUI as a person may see it: its first line, without paths."""
    line = message.splitlines()[0] if message else kind
    words = ["…" if "/" in word and len(word) > 3 else word for word in line.split()]
    return f"{kind.rpartition('.')[2]}: {' '.join(words)}"[:300]


def _loaded_files(rendered: Rendered, node_class: str) -> list[str]:
    return [
        value
        for node in rendered.graph.values()
        if node["class_type"] == node_class
        for value in node["inputs"].values()
        if isinstance(value, str) and "." in value
    ]


def _restore(job: Job, outcome: dict[str, Any]) -> None:
    view = schemas.Job.model_validate(outcome)
    job.update(
        state=view.status,
        engine=view.engine,
        progress=1.0 if view.status is State.succeeded else view.progress,
        stage="done" if view.status is State.succeeded else view.status.value,
        timings=view.timings,
        images=view.images,
        error=errors.error_from(view.error) if view.error else None,
    )


def _ended(job: Job, outcome: Any, detail: str, began: float) -> schemas.Ended:
    took = _ms(time.monotonic() - began)
    return schemas.Ended(id=job.id, status=job.state, outcome=outcome, detail=detail, took_ms=took)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
