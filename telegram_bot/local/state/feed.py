"""Live events for the open pages."""

import asyncio
from collections.abc import AsyncIterator

from telegram_bot.local.formatting.entities import Json

_MAX_BACKLOG = 500


class Feed:
    """Publish events to every listener; tell one that falls too far behind to reload."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Json | None]] = set()

    def publish(self, kind: str, **fields: object) -> None:
        for queue in self._queues:
            if queue.qsize() >= _MAX_BACKLOG:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait({"type": "reload"})
            queue.put_nowait({"type": kind, **fields})

    def close(self) -> None:
        """End every listener."""
        for queue in self._queues:
            queue.put_nowait(None)

    async def listen(self) -> AsyncIterator[Json]:
        """Yield events as they come; end on `close`."""
        queue: asyncio.Queue[Json | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._queues.discard(queue)
