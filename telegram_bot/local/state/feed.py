"""Live events for the open pages."""

import asyncio
from collections.abc import AsyncIterator

from telegram_bot.local.formatting.entities import Json

_MAX_LISTENERS = 20
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

    async def listen(self, keep_alive_s: float = 15) -> AsyncIterator[Json | None]:
        """Yield events as they come, and None after `keep_alive_s` of silence; end on `close`."""
        queue: asyncio.Queue[Json | None] = asyncio.Queue()
        if len(self._queues) >= _MAX_LISTENERS:
            return
        self._queues.add(queue)
        try:
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), keep_alive_s)
                except TimeoutError:
                    yield None
                    continue
                if event is None:
                    return
                yield event
        finally:
            self._queues.discard(queue)
