"""The tasks that run for as long as the GPU server does."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from web import tasks


class Background:
    """Runs tasks that never end by themselves, and one warm-up that does."""

    def __init__(self) -> None:
        self._endless: list[asyncio.Task[None]] = []
        self._warm_up: asyncio.Task[None] | None = None

    @property
    def is_warm(self) -> bool:
        """Whether the warm-up is over."""
        return self._warm_up is not None and self._warm_up.done()

    def broken(self) -> list[str]:
        """Return the tasks that ended although they never should: only a restart helps."""
        return [task.get_name() for task in self._endless if task.done()]

    @asynccontextmanager
    async def running(
        self,
        endless: Mapping[str, Coroutine[Any, Any, None]],
        warm_up: Coroutine[Any, Any, None],
    ) -> AsyncIterator[None]:
        """Run the tasks until the context ends."""
        self._endless = [asyncio.create_task(work, name=name) for name, work in endless.items()]
        self._warm_up = asyncio.create_task(warm_up, name="warm_up")
        everything = [*self._endless, self._warm_up]
        for task in everything:
            task.add_done_callback(tasks.end_if_broken)
        try:
            yield
        finally:
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)
