"""The end of a generation: its picture, put into its message."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import structlog
from telegram import Message
from telegram.error import BadRequest, TelegramError

from backend.client import BackendClient
from backend.schemas import Generation
from telegram_bot.catalogue import Catalogue
from telegram_bot.generating import photos
from telegram_bot.generating.tracked import Course
from telegram_bot.messages import presenter
from telegram_bot.messages.editor import Editor
from telegram_bot.messages.view import Media, View
from telegram_bot.storage.deliveries import Deliveries

_NOTIFY_S = 30.0
"""Edits make no sound: after so long a wait a short message says that it is ready."""

_AT_ONCE = 24
_log = structlog.get_logger("telegram_bot.generating.delivery")


class Patiently(Protocol):
    """Asks again while the backend is away."""

    def __call__(self, course: Course, ask: Callable[[], Awaitable[Media]]) -> Awaitable[Media]: ...


class Handover:
    """Few pictures are in memory at once, however many are ready."""

    def __init__(
        self,
        backend: BackendClient,
        deliveries: Deliveries,
        catalogue: Catalogue,
        editor: Editor,
        patiently: Patiently,
    ) -> None:
        self._backend = backend
        self._deliveries = deliveries
        self._catalogue = catalogue
        self._editor = editor
        self._patiently = patiently
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def deliver(self, course: Course, generation: Generation) -> None:
        """Raises Forbidden when the person has blocked the bot, EaselError without a picture."""
        message = await self._hand_over(course, generation)
        photo = message.photo[-1].file_id if message and message.photo else None
        self._deliveries.delivered(course.id, photo)
        _log.info("delivered", generation_id=str(course.id))
        spot, quiet = course.live.spot, course.person.preferences.quiet
        if course.delivery.age_s > _NOTIFY_S and not quiet and spot.message_id:
            text = course.say.html("job.ready")
            with suppress(TelegramError):
                await self._editor.send(spot.chat_id, View(text), reply_to=spot.message_id)

    async def _hand_over(self, course: Course, generation: Generation) -> Message | None:
        # A chat that Telegram holds up must not hold up the others' pictures.
        await self._editor.limiter.resumed(course.live.spot.chat_id)
        async with self._turns:
            as_file = course.person.preferences.as_file
            for kind in (False, True)[as_file:]:
                view = await self._result_view(course, generation, as_file=kind)
                try:
                    return await course.live.finish(view)
                except BadRequest as refusal:
                    _log.warning(
                        "photo_refused", generation_id=str(course.id), reason=refusal.message
                    )
        return await course.live.finish(presenter.not_taken(course.say, course.id))

    async def _result_view(self, course: Course, generation: Generation, *, as_file: bool) -> View:
        seed = generation.images[0].seed if generation.images else generation.seed

        async def fetch() -> Media:
            return await photos.result(self._backend, course.id, 0, as_file=as_file, seed=seed)

        media = await self._patiently(course, fetch)
        restyles = any(mode.takes_image for mode in await self._catalogue.modes())
        return presenter.result(
            course.say,
            generation,
            self._catalogue.known(generation.mode),
            media,
            took_s=generation.timings.total_ms / 1000 or None,
            restyles=restyles,
        )
