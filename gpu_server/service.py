"""What the routes ask for, in the words of the API."""

import asyncio
import base64
import io
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from PIL import Image

from gpu_server import schemas
from gpu_server.comfy.answers import Unreachable
from gpu_server.comfy.engine import Engine
from gpu_server.comfy.events import EventChannel, PreviewImage
from gpu_server.jobs.execution import AHEAD, Drawing
from gpu_server.jobs.images import Pictures
from gpu_server.jobs.job import Job, Order
from gpu_server.jobs.records import Record
from gpu_server.jobs.runner import Runner
from gpu_server.metrics import Metrics
from gpu_server.pictures import encoding, uploads
from gpu_server.safety.gate import blur
from gpu_server.safety.guard import OUT_OF_ORDER, Guard
from gpu_server.schemas import JobRequest, State
from gpu_server.settings import Settings
from policy import Policy
from web import VERSION, errors, tasks
from web.sse import Event
from workflows import parameters
from workflows.catalog import Catalog, Mode
from workflows.parameters import InvalidValues
from workflows.render import size_of

log = structlog.get_logger()

SHOW_EVERY_S = 0.05
"""Changes of a job are told at most so often; its end, at once."""


@dataclass
class Service:
    settings: Settings
    catalog: Catalog
    engine: Engine
    channel: EventChannel
    runner: Runner
    drawing: Drawing
    pictures: Pictures
    guard: Guard
    policy: Policy
    metrics: Metrics
    workers: ThreadPoolExecutor
    _warm: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, kept: Sequence[Record]) -> AsyncIterator[None]:
        """Everything that goes on by itself, until the context ends; `kept` are jobs of before."""
        await asyncio.get_running_loop().run_in_executor(self.workers, self.pictures.warm_up)
        works = {
            "engine": self.engine.run(),
            "event_channel": self.channel.run(),
            "runner": self.runner.run(kept),
            "warm_up": self.warm_up(),
        }
        self._tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]
        for task in self._tasks:
            task.add_done_callback(tasks.end_if_broken)
        try:
            await self.runner.ready.wait()
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def broken(self) -> list[str]:
        """What should run for ever and has ended: only a restart of this server helps."""
        return [t.get_name() for t in self._tasks if t.done() and t.get_name() != "warm_up"]

    # -- jobs ----------------------------------------------------------------------------

    async def submit(
        self, job_id: UUID, asked: JobRequest, photo: bytes | None, *, keep: bool = True
    ) -> Job:
        """Take the job on. Raises InvalidValues, InvalidImage, Conflict, QueueFull, NoGpu, …"""
        request = parameters.complete(asked, self.catalog, has_image=photo is not None)
        mode = self.catalog.modes[request.mode]
        if photo is not None and not mode.takes_image:
            raise errors.InvalidRequest(f"image: the mode '{mode.name}' takes no image")
        self._require_decent_words(request, photo=mode.takes_image)
        if self.guard.fault:
            raise errors.NoGpu(OUT_OF_ORDER, retry_after=60)
        if photo is None:
            size, prepared = size_of(mode, request), None
        else:
            loop = asyncio.get_running_loop()
            size, prepared = await loop.run_in_executor(
                self.workers, _prepare, self.guard, photo, mode, request
            )
        style = mode.styles[request.style]
        order = Order(
            request,
            size,
            asked.format,
            asked.timeout_s or style.timeout_s or self.settings.gpu_job_timeout_s,
        )
        body = {"mode": request.mode, "format": asked.format, **asked.values}
        return await self.runner.admit(job_id, order, prepared, body, keep=keep)

    def _require_decent_words(self, request: parameters.Request, *, photo: bool) -> None:
        """As the backend does: whoever reaches this server directly gets nothing else either."""
        refusal = self.policy.check(request.wanted_words, request.unwanted_words, photo=photo)
        if refusal is not None:
            raise errors.ContentRefused(
                f"This server does not draw this: {refusal.title('en')}", category=refusal.category
            )

    async def finished(self, job: Job) -> Job:
        """The job when it has succeeded; raises what it failed of, or Cancelled."""
        await job.done.wait()
        if job.error is not None:
            raise job.error
        if job.state is State.cancelled:
            raise errors.Cancelled
        return job

    async def result(self, job: Job) -> schemas.Result:
        images = [await self.runner.image(job, n) for n in range(len(job.images))]
        return schemas.Result(
            id=job.id,
            status=job.state,
            mode=job.order.request.mode,
            style=job.order.request.style,
            prompt=str(job.order.request.values.get("prompt", "")),
            seed=job.order.request.seed,
            engine=job.engine,
            images=[
                schemas.ImageData(
                    seed=info.seed,
                    width=info.width,
                    height=info.height,
                    media_type=info.media_type,
                    data=base64.b64encode(data).decode(),
                )
                for info, data in zip(job.images, images, strict=True)
            ],
            timings=job.timings,
        )

    async def events(
        self, job: Job, *, after: int = -1, previews: bool = False, with_images: bool = False
    ) -> AsyncIterator[Event]:
        """The job's changes from now on, the newest of each kind; ends with `result`.

        However slowly they are taken, nothing piles up: what was missed is summed up.
        """
        shown_state: tuple[Any, ...] = ()
        shown_progress: tuple[Any, ...] = ()
        shown_preview, told = None, False
        # Of a redrawn photo nothing is shown before the whole picture has passed the guard.
        may_preview = not self.catalog.modes[job.order.request.mode].takes_image
        async with job.follow() as changed:
            while True:
                await changed.wait()
                if told:
                    await _pause(job.done, SHOW_EVERY_S)
                changed.clear()
                if job.version <= after and not job.state.ended:
                    continue
                told = True
                view = job.view(self.runner.position(job))
                if (view.status, view.position) != shown_state and not view.status.ended:
                    shown_state = (view.status, view.position)
                    yield Event("state", view, job.version)
                if (view.progress, view.stage) != shown_progress and not view.status.ended:
                    shown_progress = (view.progress, view.stage)
                    yield Event("progress", _progress(view), job.version)
                if (
                    previews
                    and may_preview
                    and job.preview is not None
                    and job.preview is not shown_preview
                ):
                    shown_preview, job.preview_taken = job.preview, True
                    yield Event("preview", await self._preview(job.preview), job.version)
                if view.status.ended:
                    whole = with_images and view.status is State.succeeded
                    yield Event("result", await self.result(job) if whole else view, job.version)
                    return

    def drop(self, job: Job) -> None:
        """Nobody waits for this job any more: stop it, and keep nothing of it."""
        self.runner.drop(job)

    async def _preview(self, image: PreviewImage) -> schemas.Preview:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.workers, _blurred, image)

    # -- the pod -------------------------------------------------------------------------

    async def warm_up(self) -> None:
        """Load the default style's model before saying ready, when asked to.

        Not when jobs of before go on: they load what they need, and it would queue behind them.
        """
        await self.runner.ready.wait()
        if self.settings.gpu_warm_up and not self.runner.unfinished():
            await self.engine.in_service.wait()
            mode = next(iter(self.catalog))
            began = time.monotonic()
            prompt = {"prompt": "a grey square", "seed": 0} if not mode.takes_image else {}
            asked = JobRequest.model_validate({"mode": mode.name, **prompt})
            with suppress(errors.EaselError, InvalidValues):
                job = await self.submit(uuid.uuid4(), asked, None, keep=False)
                try:
                    await self.finished(job)
                finally:
                    self.drop(job)
            log.info("warmed_up", style=mode.spec.default_style, seconds=time.monotonic() - began)
        self._warm.set()

    def checks(self) -> dict[str, str]:
        """What must be in order before a job can run, each `ok` or what is wrong."""
        engine = self.engine
        names = ("comfyui", "event_channel", "styles", "warm_up", "safety", "server")
        found = dict.fromkeys(names, "ok")
        found["safety"] = self.guard.fault or "ok"
        if engine.fault is not None:
            found["comfyui"] = f"out of service until ComfyUI is restarted: {engine.fault}"
        elif not engine.in_service.is_set():
            url = self.settings.engine_url
            found["comfyui"] = f"no answer from {url}; is ComfyUI running?"
            if engine.is_stranger:
                found["comfyui"] = (
                    f"what answers at {url} is no ComfyUI: another program has its port"
                )
        if not self.channel.open.is_set():
            found["event_channel"] = "the event socket to ComfyUI is not open"
        if not any(state.available for state in engine.styles.values()):
            reasons = {state.reason or "" for state in engine.styles.values()}
            found["styles"] = "no style can be drawn: " + "; ".join(sorted(reasons))[:500]
        if not self._warm.is_set():
            found["warm_up"] = "the default style's model is being loaded"
        if self.broken():
            found["server"] = f"{', '.join(self.broken())} broke; restart the GPU server"
        return found

    def ready(self) -> bool:
        return all(state == "ok" for state in self.checks().values())

    def health(self, gpu: dict[str, Any] | None = None) -> schemas.Health:
        """`gpu` is what the driver says of the GPU."""
        checks = self.checks()
        wrong = [name for name, state in checks.items() if state != "ok"]
        status = "ok" if not wrong else "down" if "comfyui" in wrong else "degraded"
        if self.engine.info is None or wrong == ["warm_up"]:
            status = "starting"
        unfinished = self.runner.unfinished()
        running = sum(job.state is State.running for job in unfinished)
        return schemas.Health(
            status=status,
            gpu_available=not wrong,
            engine=self.engine.name,
            version=VERSION,
            checks=checks,
            gpu=gpu,
            capacity=AHEAD,
            queued=len(unfinished) - running,
            running=running,
            loaded_model=self.drawing.loaded_model,
            styles={mode.name: self._styles(mode.name) for mode in self.catalog},
        )

    async def free(self, *, unload_models: bool) -> None:
        """Release memory for an operator. Raises EngineLost when ComfyUI does not answer."""
        try:
            await self.engine.comfy.free(unload_models=unload_models)
        except Unreachable as error:
            raise errors.EngineLost("ComfyUI does not answer") from error
        if unload_models:
            self.drawing.loaded_model = None
            self.engine.forgive()

    def measure(self, gpu: dict[str, Any] | None) -> None:
        """Bring the gauges up to date."""
        unfinished = self.runner.unfinished()
        running = sum(job.state is State.running for job in unfinished)
        self.metrics.queued.set(len(unfinished) - running)
        self.metrics.running.set(running)
        if gpu is not None:
            self.metrics.gpu_memory_used.set(gpu["memory_used"])
            self.metrics.gpu_temperature.set(gpu["temperature"])

    def _styles(self, mode_name: str) -> dict[str, schemas.StyleHealth]:
        mode = self.catalog.modes[mode_name]
        found = {}
        for style in mode.styles:
            spec, state = mode.graph_spec(style), self.engine.style(mode_name, style)
            reason = state.reason if self.engine.fault is None else self.engine.fault
            found[style] = schemas.StyleHealth(
                available=state.available and self.engine.in_service.is_set(),
                reason=reason,
                model=spec.model,
                files={name: name not in state.missing for name in state.files},
            )
        return found


def _prepare(
    guard: Guard, photo: bytes, mode: Mode, request: parameters.Request
) -> tuple[tuple[int, int], bytes]:
    """The photo as it is drawn from: upright, cropped, judged, and a file of our own making."""
    upright = uploads.decode(photo)
    size = size_of(mode, request, upright.size)
    fitted = encoding.fit_photo(upright, size)
    guard.require_decent([fitted], photo=True)
    return size, encoding.as_png(fitted)


async def _pause(unless: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the event."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await unless.wait()


def _progress(view: schemas.Job) -> schemas.ProgressEvent:
    return schemas.ProgressEvent(progress=view.progress, stage=view.stage)


def _blurred(image: PreviewImage) -> schemas.Preview:
    """As a picture may be shown that the guard has not judged: colours and composition only."""
    with Image.open(io.BytesIO(image.data), formats=("JPEG", "PNG")) as opened:
        data = encoding.encode(blur(opened.convert("RGB")), "jpeg", "Easel").data
    return schemas.Preview(media_type="image/jpeg", data=base64.b64encode(data).decode())
