"""One generation on one pod: ask, follow, fetch, keep. Every step is harmless when repeated."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import structlog

from backend.dispatch.active import Ending, Live
from backend.dispatch.pods import Pod
from backend.storage.generations import IMAGE_ERRORS, Store
from gpu_server import schemas as gpu
from gpu_server.schemas import State
from web import errors

log = structlog.get_logger()
T = TypeVar("T")

AGAIN_S = 0.5
MAX_BROKEN = 10
"""A pod that is well by its own account but broke off so often in a row fails the job."""
LOADING_LIMIT_S = 1200.0


class Moved(Exception):
    """This pod does not draw it after all; another one shall. `failed`: it failed there."""

    def __init__(self, error: errors.EaselError, *, failed: bool = False) -> None:
        super().__init__(error.detail)
        self.error = error
        self.failed = failed


@dataclass(frozen=True)
class Drawing:
    """`asked`: the pod may have the job from before. `started` is told when the GPU begins,
    `drawn` when it is free again."""

    live: Live
    pod: Pod
    store: Store
    asked: bool
    started: Callable[[], None]
    drawn: Callable[[gpu.Job], None]
    _there: asyncio.Event = field(default_factory=asyncio.Event)
    """The pod has the job."""
    _gone: asyncio.Event = field(default_factory=asyncio.Event)
    """The pod was to stop the job and did not have it."""

    async def to_end(self) -> Ending:
        """How it ended. Raises Moved."""
        limit = self.live.row.order.timeout_s + LOADING_LIMIT_S
        try:
            async with asyncio.timeout(limit):
                return await self._ending(await self._stoppable(await self._photo()))
        except TimeoutError:
            self.pod.abandoned.add(self.live.row.id)
            return self._failed(errors.Timeout("The pod did not finish it in time"))

    async def _stoppable(self, photo: bytes | None) -> gpu.Job | None:
        stopping = asyncio.create_task(self._stop_when_asked())
        try:
            return await self._job(photo)
        finally:
            stopping.cancel()

    async def _ending(self, job: gpu.Job | None) -> Ending:
        if job is None:
            return Ending(State.cancelled)
        if job.status is State.cancelled:
            if self.live.stop.is_set():
                return Ending(State.cancelled, job.engine, self._timings(job))
            raise Moved(errors.EngineLost("it was stopped on the pod"))
        if job.error is not None:
            return self._judge(job, errors.error_from(job.error))
        self.drawn(job)
        return await self._keep(job)

    async def _photo(self) -> bytes | None:
        if not self.live.row.order.has_photo:
            return None
        return await self._insist(lambda: self.store.photo(self.live.row))

    async def _stop_when_asked(self) -> None:
        """Pass a cancellation on, but not before the pod has the job: else it would be drawn."""
        await self.live.stop.wait()
        while True:
            await self._there.wait()
            try:
                await self.pod.client.delete(self.live.row.id)
            except errors.NotFound:
                self._gone.set()
                self._there.clear()
            except errors.EaselError:
                await asyncio.sleep(AGAIN_S)
            else:
                return

    async def _job(self, photo: bytes | None) -> gpu.Job | None:
        """The job when it has ended on the pod, asked again when the connection breaks; None when
        it was cancelled while the pod did not have it."""
        broken, asked = 0, self.asked
        while True:
            if self.live.stop.is_set() and (self._gone.is_set() or not asked):
                return None
            asked = True
            version = self.live.version
            try:
                job = await self._follow(photo)
            except (errors.EngineLost, errors.Internal) as error:
                log.info("pod_connection_lost", pod=self.pod.name, error=error.detail)
                self.pod.suspect()
                broken = broken + 1 if self.live.version == version else 0
                if broken >= MAX_BROKEN and self.pod.in_service:
                    raise Moved(error, failed=True) from error
            except (errors.QueueFull, errors.NoGpu) as error:
                self.pod.suspect()
                raise Moved(error) from error
            except _POD_FAULTS as error:
                self.pod.suspect()
                raise Moved(error, failed=True) from error
            else:
                if job is not None:
                    return job
            await asyncio.sleep(AGAIN_S)

    async def _follow(self, photo: bytes | None) -> gpu.Job | None:
        job_id, ended = self.live.row.id, None
        async with self.pod.client.draw(
            job_id, request_for_pod(self.live), photo, previews=True
        ) as events:
            async for event in events:
                self._there.set()
                match event:
                    case gpu.Preview():
                        self.live.update(preview=event)
                    case gpu.ProgressEvent():
                        self.live.update(progress=event.progress, stage=event.stage)
                    case gpu.Job() if event.status.ended:
                        ended = event  # and on to the end, after which the connection is free
                    case gpu.Job():
                        self._take_state(event)
        return ended

    def _take_state(self, job: gpu.Job) -> None:
        began = job.status is State.running and self.live.state is not State.running
        self.live.update(state=job.status, engine=job.engine)
        if began:
            self.started()

    async def _keep(self, job: gpu.Job) -> Ending:
        """Fetch the pictures and keep them, before anybody is told."""
        for number in range(len(job.images)):
            data = await self._image(number)
            put = partial(self.store.put_image, self.live.row.id, number, data)
            await self._insist(put)
        timings = self._timings(job)
        return Ending(State.succeeded, job.engine, timings, tuple(job.images), progress=1.0)

    async def _insist(self, call: Callable[[], Awaitable[T]]) -> T:
        """The picture store's answer; while it is away, again until it is back."""
        while True:
            try:
                return await call()
            except IMAGE_ERRORS as error:
                log.warning("picture_store_unavailable", error=type(error).__name__)
                await asyncio.sleep(AGAIN_S)

    async def _image(self, number: int) -> bytes:
        broken = 0
        while True:
            try:
                return await self.pod.client.image(self.live.row.id, number)
            except (errors.EngineLost, errors.Internal) as error:
                self.pod.suspect()
                broken += 1
                if broken >= MAX_BROKEN and self.pod.in_service:
                    raise Moved(error, failed=True) from error
                await asyncio.sleep(AGAIN_S)
            except errors.EaselError as error:
                raise Moved(errors.EngineLost("its pictures were gone"), failed=True) from error

    def _judge(self, job: gpu.Job, error: errors.EaselError) -> Ending:
        if isinstance(error, errors.EngineLost | errors.Internal | errors.ModelMissing):
            raise Moved(error, failed=True)
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


_POD_FAULTS = (
    errors.ModelMissing,
    errors.Unauthorized,
    errors.NotFound,
    errors.Conflict,
    errors.RateLimited,
)
"""What a pod may answer that says something of the pod and nothing of the generation."""


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
