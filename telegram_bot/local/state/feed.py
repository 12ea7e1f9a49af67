"""What happens, told live to the open pages."""

import asyncio
from collections.abc import AsyncIterator

from telegram_bot.local.formatting.entities import Json

MAX_PAGES = 20
_MAX_BEHIND = 500


class Feed:
    """Events for every listener; one that falls far behind is told to load everything anew."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Json | None]] = set()

    def tell(self, kind: str, **fields: object) -> None:
        for queue in self._queues:
            if queue.qsize() >= _MAX_BEHIND:
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait({"type": "reload"})
            queue.put_nowait({"type": kind, **fields})

    def close(self) -> None:
        """Ends every listener."""
        for queue in self._queues:
            queue.put_nowait(None)

    async def listen(self, keep_alive_s: float = 15) -> AsyncIterator[Json | None]:
        """Events as they come; None after `keep_alive_s` of silence; ends on `close`."""
        queue: asyncio.Queue[Json | None] = asyncio.Queue()
        if len(self._queues) >= MAX_PAGES:
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
