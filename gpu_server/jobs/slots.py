"""Waiting that ends when the job is to be stopped, and the slots that jobs wait for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from gpu_server.jobs.job import Job, Submission
from web import errors

T = TypeVar("T")


class Slots:
    """The prompts that ComfyUI may hold at once."""

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)

    @asynccontextmanager
    async def taken_by(self, job: Job) -> AsyncIterator[None]:
        """Hold a slot. Raises Cancelled if the job is to be stopped before one is free."""
        # A recovered job takes a slot even when it is to be stopped: ComfyUI may have its prompt.
        if job.submission is not Submission.unknown and self._free.locked():
            await unless_stopped(job, self._free.acquire())
        else:
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()


async def unless_stopped(job: Job, waiting: Awaitable[T]) -> T:
    """Return the result of `waiting`; raise Cancelled as soon as the job is to be stopped."""
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
