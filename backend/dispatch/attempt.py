"""One try of a generation on one pod. Every step is harmless when repeated."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import structlog

from backend.dispatch.active import ActiveGeneration
from backend.dispatch.pods import Pod
from backend.storage.blobs import BLOB_ERRORS, BlobStore
from backend.storage.generations import Outcome
from gpu_server import schemas as gpu
from gpu_server.schemas import JobRequest, State
from web import errors
from web.client import Photos

log = structlog.get_logger()
T = TypeVar("T")

RETRY_PAUSE_S = 0.5
_MAX_BREAKS = 10
"""Consecutive broken connections to a pod that reports itself well before the attempt fails."""
_LOADING_TIMEOUT_S = 1200.0
"""How long a pod may take beyond the generation's own timeout, mostly to load models."""
_BACKEND_FIELDS = {"user", "priority", "webhook"}
"""Fields of a generation's request that a job's request does not have."""


@dataclass(eq=False)
class RetryElsewhere(Exception):
    """Another pod must draw it. `is_failure`: it counts against the generation."""

    error: errors.EaselError
    is_failure: bool = True


@dataclass(kw_only=True)
class Attempt:
    """First `draw`, then `outcome`, within `timeout_s`.

    Both raise RetryElsewhere, or an EaselError that another pod would raise too. `began` is called
    when the GPU begins. `pod_may_have_it`: the pod was asked before, perhaps by another process.
    """

    active: ActiveGeneration
    pod: Pod
    blobs: BlobStore
    pod_may_have_it: bool
    began: Callable[[], None]
    _pod_has_it: asyncio.Event = field(default_factory=asyncio.Event)
    _pod_had_nothing_to_stop: bool = False

    @property
    def timeout_s(self) -> float:
        return self.active.row.timeout_s + _LOADING_TIMEOUT_S

    async def draw(self) -> gpu.Job | None:
        """Follow the job until it ends. Return None if it was stopped before the pod had it."""
        row = self.active.row
        photos = await _insist(partial(self.blobs.photos, row))
        stopping = asyncio.create_task(self._pass_on_stop())
        try:
            return await self._follow_to_end(photos)
        finally:
            stopping.cancel()

    async def outcome(self, job: gpu.Job | None) -> Outcome:
        """Return how the generation ended, with its images stored."""
        if job is None:
            return Outcome.cancelled()
        facts: dict[str, Any] = {"engine": job.engine, "timings": self._timings(job)}
        if job.status is State.cancelled:
            if self.active.is_stopping:
                return Outcome.cancelled(**facts)
            raise RetryElsewhere(errors.EngineLost("The pod stopped it"), is_failure=False)
        if job.error is not None:
            error = errors.error_from(job.error)
            if error.retry != "never":
                raise RetryElsewhere(error)
            return Outcome.failed(error, progress=self.active.progress, **facts)
        digests = []
        for number in range(len(job.images)):
            data = await self._image(number)
            digests.append(hashlib.sha256(data).hexdigest())
            await _insist(partial(self.blobs.put_image, self.active.row.id, number, data))
        facts["timings"] = self._timings(job)
        facts |= {"images": tuple(job.images), "digests": tuple(digests)}
        return Outcome(status=State.succeeded, progress=1.0, **facts)

    def timed_out(self) -> Outcome:
        """Return the outcome after `timeout_s`, and have the pod stop."""
        self.pod.abandon(self.active.row.id)
        error = errors.Timeout("The pod did not finish it in time")
        return Outcome.failed(error, engine=self.active.engine, progress=self.active.progress)

    async def _pass_on_stop(self) -> None:
        """Pass a cancellation on once the pod has the job: earlier, the job would still come."""
        await self.active.wait_for_stop()
        while True:
            await self._pod_has_it.wait()
            try:
                await self.pod.client.delete(self.active.row.id)
            except errors.NotFound:
                self._pod_had_nothing_to_stop = True
                self._pod_has_it.clear()
            except errors.EaselError:
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                return

    async def _follow_to_end(self, photos: Photos) -> gpu.Job | None:
        """Follow the job over broken connections. Return None if it was stopped before it began."""
        breaks, may_have_it = 0, self.pod_may_have_it
        while True:
            if self.active.is_stopping and (self._pod_had_nothing_to_stop or not may_have_it):
                return None
            may_have_it = True
            version = self.active.version
            try:
                if (job := await self._follow(photos)) is not None:
                    return job
            except errors.InvalidRequest as error:
                raise self._refusal(error) from error
            except errors.EaselError as error:
                if error.retry == "never":
                    raise
                breaks = breaks + 1 if self.active.version == version else 0
                self._retry_here(error, breaks)
            await asyncio.sleep(RETRY_PAUSE_S)

    def _refusal(self, error: errors.InvalidRequest) -> Exception:
        """Return what ends the attempt: the mode is another on this pod than when it was accepted.

        A pod that lacks mode or style says so with its next health, and gets no more of them.
        """
        text = f"The mode on the GPU server does not take this now: {error.detail}"
        if any(fault.field in ("mode", "style") for fault in error.errors):
            self.pod.suspect()
            return RetryElsewhere(errors.NoGpu(text), is_failure=False)
        return errors.InvalidRequest(text)

    def _retry_here(self, error: errors.EaselError, breaks: int) -> None:
        """Return if this pod may be asked again; otherwise raise RetryElsewhere."""
        self.pod.suspect()
        if error.retry != "same_pod":
            # With `retry_after` the pod is only busy.
            raise RetryElsewhere(error, is_failure=error.retry_after is None) from error
        log.info("pod_connection_lost", pod=self.pod.name, error=error.detail)
        if breaks >= _MAX_BREAKS and self.pod.in_service:
            raise RetryElsewhere(error) from error

    async def _follow(self, photos: Photos) -> gpu.Job | None:
        row, ended = self.active.row, None
        fields = row.request.model_dump(exclude=_BACKEND_FIELDS)
        request = JobRequest(**fields, timeout_s=row.timeout_s).model_dump()
        async with self.pod.client.draw(row.id, request, photos, previews=True) as events:
            async for event in events:
                self._pod_has_it.set()
                match event:
                    case gpu.Preview():
                        self.active.take_preview(event)
                    case gpu.ProgressEvent():
                        self.active.take_progress(event)
                    case gpu.Job() if event.status.ended:
                        ended = event  # read on to the end, after which the connection is free
                    case gpu.Job():
                        if self.active.take_state(event):
                            self.began()
        return ended

    async def _image(self, number: int) -> bytes:
        breaks = 0
        while True:
            try:
                return await self.pod.client.image(self.active.row.id, number)
            except errors.EaselError as error:
                if error.retry != "same_pod":
                    raise RetryElsewhere(errors.EngineLost("Its images were gone")) from error
                breaks += 1
                self._retry_here(error, breaks)
            await asyncio.sleep(RETRY_PAUSE_S)

    def _timings(self, job: gpu.Job) -> gpu.Timings:
        """Return the pod's figures plus the time in the backend's queue."""
        total = round((time.time() - self.active.row.created) * 1000, 1)
        in_queue = max(total - job.timings.total_ms, 0.0)
        queued = round(in_queue + job.timings.queued_ms, 1)
        return job.timings.model_copy(update={"queued_ms": queued, "total_ms": total})


async def _insist(call: Callable[[], Awaitable[T]]) -> T:
    """Return what the object store answers, asking until it is available."""
    while True:
        try:
            return await call()
        except BLOB_ERRORS as error:
            log.warning("object_store_unavailable", error=type(error).__name__)
            await asyncio.sleep(RETRY_PAUSE_S)
