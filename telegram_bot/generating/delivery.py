"""Put the picture of a finished generation into its message."""

import asyncio
from contextlib import suppress

import structlog
from telegram import Message
from telegram.error import BadRequest, TelegramError

from backend.schemas import Generation
from telegram_bot.catalogue import Catalogue
from telegram_bot.generating.gateway import Gateway
from telegram_bot.generating.tracked import TrackedGeneration
from telegram_bot.messages import presenter
from telegram_bot.messages.editor import Editor
from telegram_bot.messages.refusals import forbids_pictures, forbids_writing
from telegram_bot.messages.view import View

_NOTIFY_AFTER_S = 30.0
"""After a longer wait a short message says that the picture is ready: edits make no sound."""

_MAX_IN_MEMORY = 24
log = structlog.get_logger("telegram_bot.generating.delivery")


class PictureDelivery:
    """Delivers pictures, with few of them in memory however many are ready."""

    def __init__(self, gateway: Gateway, catalogue: Catalogue, editor: Editor) -> None:
        self._gateway = gateway
        self._catalogue = catalogue
        self._editor = editor
        self._in_memory = asyncio.Semaphore(_MAX_IN_MEMORY)

    async def deliver(self, tracked: TrackedGeneration, generation: Generation) -> None:
        """Show the picture, and notify the person after a long wait.

        Raises:
            Forbidden: The person has blocked the bot.
            EaselError: The backend does not have the picture.
        """
        message = await self._show(tracked, generation)
        tracked.deliver(message.photo[-1].file_id if message and message.photo else None)
        log.info("picture_delivered", generation_id=str(tracked.id))
        shown, quiet = tracked.message.row, tracked.person.preferences.quiet
        if tracked.delivery.age_s > _NOTIFY_AFTER_S and not quiet and shown.message_id:
            text = tracked.texts.html("job.ready")
            with suppress(TelegramError):
                await self._editor.send(shown.chat_id, View(text), reply_to=shown.message_id)

    async def _show(self, tracked: TrackedGeneration, generation: Generation) -> Message | None:
        # A chat that Telegram throttles must not delay the pictures of other chats.
        await self._editor.limiter.resumed(tracked.message.row.chat_id)
        async with self._in_memory:
            forbidden = False
            only_file = tracked.person.preferences.as_file
            seed = generation.images[0].seed if generation.images else generation.seed
            for as_file in (True,) if only_file else (False, True):
                media = await self._gateway.picture(tracked, as_file=as_file, seed=seed)
                view = presenter.result(
                    tracked.texts,
                    generation,
                    self._catalogue.known(generation.mode),
                    media,
                    took_s=generation.timings.total_ms / 1000 or None,
                    restyles=await self._catalogue.takes_photos(),
                )
                try:
                    return await tracked.message.finish(view)
                except BadRequest as refusal:
                    if forbids_writing(refusal):
                        raise
                    forbidden = forbidden or forbids_pictures(refusal)
                    log.warning(
                        "picture_rejected", generation_id=str(tracked.id), reason=refusal.message
                    )
        shown = presenter.no_pictures_here if forbidden else presenter.not_taken
        return await tracked.message.finish(shown(tracked.texts, tracked.id))
