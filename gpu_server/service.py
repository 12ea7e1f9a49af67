"""What the routes do with jobs, in the words of the API."""

import asyncio
import base64
import io
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import structlog
from PIL import Image

from gpu_server import schemas
from gpu_server.comfy.engine import Engine
from gpu_server.jobs.job import Job, milliseconds
from gpu_server.jobs.photos import prepare
from gpu_server.jobs.runner import Runner
from gpu_server.pictures import encoding
from gpu_server.safety.gate import blur
from gpu_server.safety.guard import OUT_OF_ORDER, Guard
from gpu_server.schemas import JobRequest, State
from gpu_server.timeouts import Timeouts
from policy import Policy
from web import errors, sse
from web.client import Photos
from web.content import fingerprint
from web.following import News
from web.sse import Event
from workflows import parameters
from workflows.catalog import Catalog
from workflows.live import LiveCatalog
from workflows.parameters import InvalidValues
from workflows.render import size_of

log = structlog.get_logger()

_SHOW_EVERY_S = 0.05
"""Shortest time between two events of a job; its end is sent at once."""


@dataclass(kw_only=True)
class Service:
    """Takes requests on, answers with their jobs, and hands out what became of them."""

    live: LiveCatalog
    engine: Engine
    runner: Runner
    guard: Guard
    policy: Policy
    workers: ThreadPoolExecutor
    timeouts: Timeouts
    job_timeout_s: float
    warms_up: bool

    @property
    def catalog(self) -> Catalog:
        """The catalogue of now; take it once for what must fit together."""
        return self.live.current

    async def submit(
        self, job_id: UUID, request: JobRequest, photos: Photos, *, is_kept: bool = True
    ) -> Job:
        """Take a request on, or find its job again.

        Raises InvalidValues if it does not fit its mode, or any of `web.errors.REQUEST_ERRORS`.
        """
        catalog = self.catalog
        complete = parameters.complete(request, catalog, photos=photos)
        mode = catalog.modes[complete.mode]
        # The backend's policy, for callers that reach this server directly.
        words = complete.wanted_words, complete.unwanted_words
        if refusal := self.policy.check(*words, photo=mode.takes_image):
            raise errors.ContentRefused(
                f"This server does not draw this: {refusal.title('en')}", category=refusal.category
            )
        if self.guard.fault:
            raise errors.NoGpu(OUT_OF_ORDER, retry_after=60)
        size, prepared = size_of(mode, complete), dict[str, bytes]()
        if photos:
            loop = asyncio.get_running_loop()
            size, prepared = await loop.run_in_executor(
                self.workers, prepare, self.guard, photos, mode, complete
            )
        style = mode.styles[complete.style]
        timeout_s = complete.timeout_s or style.timeout_s or self.job_timeout_s
        job = Job(
            id=job_id,
            request=complete.model_copy(update={"timeout_s": timeout_s}),
            size=size,
            fingerprint=await fingerprint(request.model_dump(exclude={"timeout_s"}), prepared),
            is_kept=is_kept,
        )
        job.assign_engine(self.engine.name)
        job.assign_mode(mode)
        return await self.runner.admit(job, prepared)

    def view(self, job: Job) -> schemas.Job:
        return job.view(self.runner.position(job))

    async def finished(self, job: Job) -> None:
        """Wait until the job has succeeded. Raises the error it ended with, Cancelled included."""
        await job.done.wait()
        if job.error is not None:
            raise job.error
        if job.status is State.cancelled:
            raise errors.Cancelled

    async def result(self, job: Job) -> schemas.Result:
        """Return a succeeded job with its images. Raises NotFound if they are gone."""
        images = [await self.runner.image(job, n) for n in range(len(job.image_infos))]
        return schemas.Result(
            id=job.id,
            status=job.status,
            mode=job.request.mode,
            style=job.request.style,
            prompt=str(job.request.values.get("prompt", "")),
            seed=job.request.seed,
            engine=job.engine,
            images=[
                schemas.ImageData(
                    **info.model_dump(exclude={"bytes"}), data=base64.b64encode(data).decode()
                )
                for info, data in zip(job.image_infos, images, strict=True)
            ],
            timings=job.timings,
        )

    async def events(
        self, job: Job, *, after: int = -1, previews: bool = False, with_images: bool = False
    ) -> AsyncIterator[Event]:
        """Yield the job's changes, the newest of each kind, and at last its `result`."""
        news, loop = News(), asyncio.get_running_loop()
        async for _ in job.changes(after, spacing_s=_SHOW_EVERY_S):
            if job.is_over:
                continue
            view = self.view(job)
            progress = schemas.ProgressEvent(progress=view.progress, stage=view.stage)
            state = (view.status, view.position)
            for event in news.events(view, job.version, state=state, progress=progress):
                yield event
            preview = job.preview
            if previews and preview is not None and news.is_new_preview(preview):
                job.take_preview()
                blurred = await loop.run_in_executor(self.workers, _blurred, preview)
                yield Event("preview", blurred, job.version)
        has_images = with_images and job.status is State.succeeded
        yield Event("result", await self.result(job) if has_images else self.view(job), sse.END)

    async def end(self, job: Job) -> schemas.Ended:
        """Cancel the job, or forget it with its images if it has ended; say what happened."""
        began = time.monotonic()
        outcome: Literal["cancelled", "stopping", "already_ended", "deleted"]
        if job.is_over:
            await self.runner.forget(job)
            outcome, detail = "deleted", "The job and its pictures were deleted"
        else:
            job.ask_to_stop()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.timeouts.cancel_s):
                    await job.done.wait()
            if job.status is State.cancelled:
                outcome, detail = "cancelled", "The job was stopped"
            elif job.is_over:
                outcome, detail = "already_ended", "It had ended before it could be stopped"
            else:
                outcome, detail = "stopping", f"ComfyUI is {job.stage} and stops after that"
        took_ms = milliseconds(time.monotonic() - began)
        return schemas.Ended(
            id=job.id, status=job.status, outcome=outcome, detail=detail, took_ms=took_ms
        )

    async def warm_up(self) -> None:
        """Load the default style's model, if set, by drawing an image that is thrown away.

        Skipped while jobs recovered from disk are unfinished: they load the models they need.
        """
        await self.runner.ready.wait()
        if not (self.warms_up and self.catalog.modes) or self.runner.unfinished():
            return
        await self.engine.in_service.wait()
        mode = next(iter(self.catalog))
        began = time.monotonic()
        known = {"prompt": "a grey square", "seed": 0}.items()
        values = {name: value for name, value in known if name in mode.spec.parameters}
        request = JobRequest.model_validate({"mode": mode.name, **values})
        with suppress(errors.EaselError, InvalidValues):
            job = await self.submit(uuid.uuid4(), request, {}, is_kept=False)
            try:
                await self.finished(job)
            finally:
                self.runner.drop(job)
        log.info("warmed_up", style=mode.spec.default_style, seconds=time.monotonic() - began)


def _blurred(image: bytes) -> schemas.Preview:
    """Blur a preview, which the guard has not judged: only colours and composition remain."""
    with Image.open(io.BytesIO(image), formats=("JPEG", "PNG")) as opened:
        data = encoding.encode(blur(opened.convert("RGB")), "jpeg", "Easel").data
    return schemas.Preview(media_type="image/jpeg", data=base64.b64encode(data).decode())
