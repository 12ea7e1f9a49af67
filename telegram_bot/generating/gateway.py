"""What goes to the backend in a crowd: requests before streams, and few at a time.

A long line of them in the client's pool would cost more than it gains.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from telegram import Bot
from telegram.error import BadRequest

from backend.client import BackendClient, GenerationEvent
from backend.schemas import Generation
from telegram_bot.generating import photos
from telegram_bot.generating.tracked import Course
from web.errors import Cancelled, InvalidImage

_REQUESTS_AT_ONCE = 12
_OPENINGS_AT_ONCE = 4
_LONGEST_LULL_S = 2.0


class Traffic:
    """`events` is the backend over a pool of its own: every stream holds a connection."""

    def __init__(self, bot: Bot, backend: BackendClient, events: BackendClient) -> None:
        self._bot = bot
        self._backend = backend
        self._events = events
        self._requests = asyncio.Semaphore(_REQUESTS_AT_ONCE)
        self._openings = asyncio.Semaphore(_OPENINGS_AT_ONCE)
        self._asking = 0
        self._lull = asyncio.Event()
        self._lull.set()

    async def put(self, course: Course) -> Generation:
        """Give it to the backend, photo and all.

        Raises Cancelled where that came first, TelegramError, and what the backend says.
        """
        _unless_cancelled(course)
        photo = await self._photo(course.delivery.photo) if course.delivery.photo else None
        self._asking += 1
        self._lull.clear()
        try:
            async with self._requests:
                _unless_cancelled(course)
                return await self._backend.put(course.id, course.delivery.request, photo)
        finally:
            self._asking -= 1
            if not self._asking:
                self._lull.set()

    async def _photo(self, source: str) -> bytes:
        try:
            return await photos.fetch(self._bot, self._backend, source)
        except BadRequest as refusal:
            raise InvalidImage("Telegram no longer has this photo") from refusal

    @asynccontextmanager
    async def follow(self, course: Course) -> AsyncIterator[AsyncIterator[GenerationEvent]]:
        """The generation's events; as long as they can come, the backend is there."""
        previews = course.person.preferences.previews
        async with AsyncExitStack() as stack:
            async with self._openings:
                await self._wait_for_lull()
                following = self._events.follow(course.id, previews=previews)
                events = await stack.enter_async_context(following)
            stack.callback(course.backend_is_there)
            yield events

    async def _wait_for_lull(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_LULL_S):
                await self._lull.wait()


def _unless_cancelled(course: Course) -> None:
    if course.cancelled.is_set():
        raise Cancelled
