"""What the routes do with jobs, in the words of the API."""

import asyncio
import base64
import io
import time
import uuid
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Literal
from uuid import UUID

import structlog
from PIL import Image

from gpu_server import schemas
from gpu_server.comfy.engine import Engine
from gpu_server.comfy.events import PreviewImage
from gpu_server.jobs.job import Job, milliseconds
from gpu_server.jobs.runner import Runner
from gpu_server.pictures import encoding, uploads
from gpu_server.safety.gate import blur
from gpu_server.safety.guard import OUT_OF_ORDER, Guard
from gpu_server.schemas import JobRequest, State
from gpu_server.timeouts import Timeouts
from policy import Policy
from web import errors
from web.fingerprint import fingerprint
from web.following import News
from web.sse import Event
from workflows import parameters
from workflows.catalog import Catalog, Mode
from workflows.parameters import InvalidValues
from workflows.render import size_of

log = structlog.get_logger()

_SHOW_EVERY_S = 0.05
"""Shortest time between two events of a job; its end is sent at once."""


class Service:
    """Takes requests on, answers with their jobs, and hands out what became of them."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        engine: Engine,
        runner: Runner,
        guard: Guard,
        policy: Policy,
        workers: ThreadPoolExecutor,
        timeouts: Timeouts,
        job_timeout_s: float,
        warms_up: bool,
    ) -> None:
        self.catalog = catalog
        self._engine = engine
        self._runner = runner
        self._guard = guard
        self._policy = policy
        self._workers = workers
        self._timeouts = timeouts
        self._job_timeout_s = job_timeout_s
        self._warms_up = warms_up

    async def submit(
        self, job_id: UUID, request: JobRequest, photo: bytes | None, *, is_kept: bool = True
    ) -> Job:
        """Take a request on, or find its job again.

        Raises:
            InvalidValues: The request does not fit its mode.
            EaselError: Any of `web.errors.REQUEST_ERRORS`.
        """
        complete = parameters.complete(request, self.catalog, has_image=photo is not None)
        mode = self.catalog.modes[complete.mode]
        if photo is not None and not mode.takes_image:
            raise errors.InvalidRequest(f"image: the mode '{mode.name}' takes no image")
        self._require_decent_words(complete, photo=mode.takes_image)
        if self._guard.fault:
            raise errors.NoGpu(OUT_OF_ORDER, retry_after=60)
        if photo is None:
            size, prepared = size_of(mode, complete), None
        else:
            loop = asyncio.get_running_loop()
            size, prepared = await loop.run_in_executor(
                self._workers, _prepare, self._guard, photo, mode, complete
            )
        style = mode.styles[complete.style]
        timeout_s = complete.timeout_s or style.timeout_s or self._job_timeout_s
        return await self._runner.admit(
            job_id,
            complete.model_copy(update={"timeout_s": timeout_s}),
            prepared,
            size=size,
            fingerprint=await fingerprint(request.model_dump(exclude={"timeout_s"}), prepared),
            is_kept=is_kept,
        )

    def _require_decent_words(self, request: JobRequest, *, photo: bool) -> None:
        """Apply the backend's policy to callers that reach this server directly."""
        refusal = self._policy.check(request.wanted_words, request.unwanted_words, photo=photo)
        if refusal is not None:
            raise errors.ContentRefused(
                f"This server does not draw this: {refusal.title('en')}", category=refusal.category
            )

    def get(self, job_id: UUID) -> Job:
        """Return the job. Raises NotFound."""
        return self._runner.get(job_id)

    def view(self, job: Job) -> schemas.Job:
        """Return the job's state and its position in the queue."""
        return job.view(self._runner.position(job))

    async def finished(self, job: Job) -> None:
        """Wait until the job has succeeded. Raises the error it ended with, Cancelled included."""
        await job.done.wait()
        if job.error is not None:
            raise job.error
        if job.status is State.cancelled:
            raise errors.Cancelled

    async def image(self, job: Job, number: int) -> bytes:
        """Return an encoded image. Raises NotFound."""
        return await self._runner.image(job, number)

    async def result(self, job: Job) -> schemas.Result:
        """Return a succeeded job with its images. Raises NotFound if they are gone."""
        images = [await self._runner.image(job, n) for n in range(len(job.image_infos))]
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
                    seed=info.seed,
                    width=info.width,
                    height=info.height,
                    media_type=info.media_type,
                    data=base64.b64encode(data).decode(),
                )
                for info, data in zip(job.image_infos, images, strict=True)
            ],
            timings=job.timings,
        )

    async def events(
        self, job: Job, *, after: int = -1, previews: bool = False, with_images: bool = False
    ) -> AsyncIterator[Event]:
        """Yield the job's changes, the newest of each kind, and at last its `result`.

        A slow reader piles nothing up: it misses intermediate changes.
        """
        news = News()
        # Of a redrawn photo nothing is shown before the finished image has passed the guard.
        previews = previews and not self.catalog.modes[job.request.mode].takes_image
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
                yield Event("preview", await self._preview(preview), job.version)
        has_images = with_images and job.status is State.succeeded
        yield Event("result", await self.result(job) if has_images else self.view(job), job.version)

    async def end(self, job: Job) -> schemas.Ended:
        """Cancel the job, or forget it with its images if it has ended; say what happened."""
        began = time.monotonic()
        if job.is_over:
            await self._runner.forget(job)
            return _ended(job, "deleted", "The job and its pictures were deleted", began)
        job.ask_to_stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeouts.cancel_s):
                await job.done.wait()
        if job.status is State.cancelled:
            return _ended(job, "cancelled", "The job was stopped", began)
        if job.is_over:
            return _ended(job, "already_ended", "It had ended before it could be stopped", began)
        return _ended(job, "stopping", f"ComfyUI is {job.stage} and stops after that", began)

    async def forget_ended(self, job_ids: Collection[UUID]) -> None:
        """Forget those of these jobs that have ended, with their images."""
        await self._runner.forget_ended(job_ids)

    def drop(self, job: Job) -> None:
        """Stop a job without a caller and keep nothing of it; returns at once."""
        self._runner.drop(job)

    async def warm_up(self) -> None:
        """Load the default style's model, if set, by drawing an image that is thrown away.

        Skipped while jobs recovered from disk are unfinished: they load the models they need.
        """
        await self._runner.ready.wait()
        if not self._warms_up or self._runner.unfinished():
            return
        await self._engine.in_service.wait()
        mode = next(iter(self.catalog))
        began = time.monotonic()
        prompt = {"prompt": "a grey square", "seed": 0} if not mode.takes_image else {}
        request = JobRequest.model_validate({"mode": mode.name, **prompt})
        with suppress(errors.EaselError, InvalidValues):
            job = await self.submit(uuid.uuid4(), request, None, is_kept=False)
            try:
                await self.finished(job)
            finally:
                self.drop(job)
        log.info("warmed_up", style=mode.spec.default_style, seconds=time.monotonic() - began)

    async def _preview(self, image: PreviewImage) -> schemas.Preview:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, _blurred, image)


def _prepare(
    guard: Guard, photo: bytes, mode: Mode, request: JobRequest
) -> tuple[tuple[int, int], bytes]:
    """Return the size to draw and the photo to draw from: judged, upright, cropped and redrawn."""
    upright = uploads.decode(photo)
    size = size_of(mode, request, upright.size)
    fitted = encoding.fit_photo(upright, size)
    guard.require_decent([fitted], photo=True)
    return size, encoding.as_png(fitted)


def _blurred(image: PreviewImage) -> schemas.Preview:
    """Blur a preview, which the guard has not judged: only colours and composition remain."""
    with Image.open(io.BytesIO(image.data), formats=("JPEG", "PNG")) as opened:
        data = encoding.encode(blur(opened.convert("RGB")), "jpeg", "Easel").data
    return schemas.Preview(media_type="image/jpeg", data=base64.b64encode(data).decode())


def _ended(
    job: Job,
    outcome: Literal["cancelled", "stopping", "already_ended", "deleted"],
    detail: str,
    began: float,
) -> schemas.Ended:
    took_ms = milliseconds(time.monotonic() - began)
    return schemas.Ended(
        id=job.id, status=job.status, outcome=outcome, detail=detail, took_ms=took_ms
    )
