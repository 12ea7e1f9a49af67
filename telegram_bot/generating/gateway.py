"""The way to the backend in a crowd: few requests at a time, and requests before event streams.

A long queue of requests in the client's connection pool would cost more than it gains.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

from telegram import Bot
from telegram.error import BadRequest, TelegramError

from backend.client import BackendClient, BackendUnreachable, GenerationEvent
from backend.schemas import Generation
from telegram_bot.generating import photos
from telegram_bot.generating.tracked import TrackedGeneration
from telegram_bot.messages.view import Media
from web.errors import InvalidImage, NoGpu

T = TypeVar("T")
_MAX_REQUESTS = 12
_MAX_OPENING_STREAMS = 4
_IDLE_TIMEOUT_S = 2.0
"""How long a new event stream waits for the requests to go first."""


class Gateway:
    """The backend for tracked generations; `events` is the same over a pool of its own.

    `put` and `picture` try again while the backend is away, for as long as the generation is kept.
    They raise Cancelled, or the EaselError the backend answers with.
    """

    def __init__(self, bot: Bot, backend: BackendClient, events: BackendClient) -> None:
        self._bot = bot
        self._backend = backend
        self._events = events
        self._requests = asyncio.Semaphore(_MAX_REQUESTS)
        self._openings = asyncio.Semaphore(_MAX_OPENING_STREAMS)
        self._pending_requests = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def put(self, tracked: TrackedGeneration) -> Generation:
        """Hand a generation over, with its photo."""
        return await self._retried(tracked, lambda: self._put(tracked))

    async def picture(self, tracked: TrackedGeneration, *, as_file: bool, seed: int) -> Media:
        """Fetch the first picture of a generation that succeeded."""
        fetch = partial(photos.result, self._backend, tracked.id, 0, as_file=as_file, seed=seed)
        return await self._retried(tracked, fetch)

    async def _retried(self, tracked: TrackedGeneration, call: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                answer = await call()
            except (BackendUnreachable, NoGpu, TelegramError) as error:
                await tracked.wait_to_retry(error)
            else:
                tracked.backend_answered()
                return answer

    async def _put(self, tracked: TrackedGeneration) -> Generation:
        tracked.raise_if_cancelled()
        delivery = tracked.delivery
        photos = {"image": await self._photo(delivery.photo)} if delivery.photo else {}
        self._pending_requests += 1
        self._idle.clear()
        try:
            async with self._requests:
                tracked.raise_if_cancelled()
                request = delivery.request.model_dump(exclude_unset=True)
                if not request:  # its row was damaged; the backend may have it under its id
                    return await self._backend.get(tracked.id)
                return await self._backend.put(tracked.id, request, photos)
        finally:
            self._pending_requests -= 1
            if not self._pending_requests:
                self._idle.set()

    async def _photo(self, source: str) -> bytes:
        try:
            return await photos.fetch(self._bot, self._backend, source)
        except BadRequest as refusal:
            raise InvalidImage("Telegram no longer has this photo") from refusal

    @asynccontextmanager
    async def follow(
        self, tracked: TrackedGeneration
    ) -> AsyncIterator[AsyncIterator[GenerationEvent]]:
        """Open the generation's event stream; an open stream shows that the backend is there."""
        previews = tracked.person.preferences.previews
        async with AsyncExitStack() as stack:
            async with self._openings:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE_TIMEOUT_S):
                        await self._idle.wait()
                following = self._events.follow(tracked.id, previews=previews)
                events = await stack.enter_async_context(following)
            stack.callback(tracked.backend_answered)
            yield events
