"""One generation on one pod: ask, follow, fetch, keep. Every step is harmless when repeated."""

import asyncio
import base64
from dataclasses import dataclass
from typing import Any

import structlog

from backend.live import Ending, Live
from backend.pods import Pod
from backend.store import Store
from gpu_server import schemas as gpu
from gpu_server.schemas import State
from web import errors

log = structlog.get_logger()

AGAIN_S = 0.5
LOADING_LIMIT_S = 1200.0


class Moved(Exception):
    """This pod does not draw it after all; another one shall. `failed`: it failed there."""

    def __init__(self, reason: str, *, failed: bool = False) -> None:
        super().__init__(reason)
        self.failed = failed


@dataclass(frozen=True)
class Drawing:
    live: Live
    pod: Pod
    store: Store

    async def to_end(self) -> Ending:
        """How it ended. Raises Moved."""
        photo = await self._photo()
        limit = self.live.row.order.timeout_s + LOADING_LIMIT_S
        try:
            async with asyncio.timeout(limit):
                job = await self._job(photo)
        except TimeoutError:
            self.pod.abandoned.add(self.live.row.id)
            return self._failed(errors.Timeout("The pod did not finish it in time"))
        if job.status is State.cancelled:
            if self.live.cancelling:
                return Ending(State.cancelled, job.engine, self._timings(job))
            raise Moved("stopped on the pod")
        if job.error is not None:
            return self._judge(job, errors.error_from(job.error))
        return await self._keep(job)

    async def _photo(self) -> bytes | None:
        if not self.live.row.order.has_photo:
            return None
        return await self.store.photo(self.live.row.id)

    async def _job(self, photo: bytes | None) -> gpu.Job:
        """The job when it has ended on the pod; asks again when the connection breaks."""
        while True:
            try:
                job = await self._follow(photo)
            except (errors.EngineLost, errors.Internal) as error:
                log.info("pod_connection_lost", pod=self.pod.name, error=error.detail)
                self.pod.suspect()
            except (errors.QueueFull, errors.NoGpu, errors.ModelMissing) as error:
                self.pod.suspect()
                raise Moved(error.detail, failed=True) from error
            else:
                if job is not None:
                    return job
            await asyncio.sleep(AGAIN_S)

    async def _follow(self, photo: bytes | None) -> gpu.Job | None:
        job_id = self.live.row.id
        async with self.pod.client.draw(
            job_id, request_for_pod(self.live), photo, previews=True
        ) as events:
            async for event in events:
                match event:
                    case gpu.Preview():
                        self.live.update(preview=event)
                    case gpu.ProgressEvent():
                        self.live.update(progress=event.progress, stage=event.stage)
                    case gpu.Job() if event.status.ended:
                        return event
                    case gpu.Job():
                        self.live.update(state=event.status, engine=event.engine)
        return None

    async def _keep(self, job: gpu.Job) -> Ending:
        """Fetch the pictures and keep them, before anybody is told."""
        for number in range(len(job.images)):
            data = await self._image(number)
            await self.store.put_image(self.live.row.id, number, data)
        timings = self._timings(job)
        return Ending(State.succeeded, job.engine, timings, tuple(job.images), progress=1.0)

    async def _image(self, number: int) -> bytes:
        while True:
            try:
                return await self.pod.client.image(self.live.row.id, number)
            except errors.EngineLost:
                self.pod.suspect()
                await asyncio.sleep(AGAIN_S)
            except errors.NotFound as error:
                raise Moved("its pictures were gone") from error

    def _judge(self, job: gpu.Job, error: errors.EaselError) -> Ending:
        if isinstance(error, errors.EngineLost | errors.Internal | errors.ModelMissing):
            raise Moved(error.detail, failed=True)
        return self._failed(error, job)

    def _failed(self, error: errors.EaselError, job: gpu.Job | None = None) -> Ending:
        timings = self._timings(job) if job else self.live.timings
        engine = job.engine if job else self.live.engine
        return Ending(State.failed, engine, timings, error=error, progress=self.live.progress)

    def _timings(self, job: gpu.Job) -> gpu.Timings:
        """The pod's figures; the time in our own line comes to them."""
        total = self.live.waited_ms()
        in_line = max(total - job.timings.total_ms, 0.0)
        queued = round(in_line + job.timings.queued_ms, 1)
        return job.timings.model_copy(update={"queued_ms": queued, "total_ms": total})


def request_for_pod(live: Live) -> dict[str, Any]:
    """The request as the GPU server takes it."""
    order = live.row.order
    return {
        "mode": order.request.mode,
        "style": order.request.style,
        "format": order.format,
        "timeout_s": order.timeout_s,
        **order.request.values,
    }


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
