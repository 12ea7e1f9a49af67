"""Run the bot until SIGTERM or SIGINT: `python -m telegram_bot`."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import structlog
from telegram.error import Conflict, InvalidToken, NetworkError, RetryAfter, TelegramError

from telegram_bot import monitoring, profile
from telegram_bot.app import build_application
from telegram_bot.context import Easel, EaselApplication
from telegram_bot.metrics import Contact
from telegram_bot.settings import ENV_FILE, Settings
from telegram_bot.webhook import ALLOWED_UPDATES, announce, listen, watch
from web import logs
from web.settings import load_or_exit
from web.sqlite import FileRefused

_MAX_BACKOFF_S = 30.0
_CLEANUP_INTERVAL_S = 3600.0
_ALBUM_RETENTION_S = 3600.0
_POLLING = "Updater:start_polling:polling_task"
log = structlog.get_logger("telegram_bot")


def main() -> int:
    settings = load_or_exit(Settings, ENV_FILE)
    logs.configure("telegram_bot", settings.bot_log_level)
    sentence = ""
    try:
        asyncio.run(serve(settings))
    except* InvalidToken:
        sentence = "BOT_TOKEN is not accepted by Telegram; @BotFather shows it"
    except* FileRefused as refused:
        sentence = str(refused.exceptions[0])
    if sentence:
        sys.stderr.write(f"error: {sentence}\n")
    return 2 if sentence else 0


async def serve(settings: Settings) -> None:
    """Run the bot until SIGTERM or SIGINT. Raises InvalidToken."""
    application = build_application(settings)
    easel: Easel = application.bot_data
    port = settings.bot_metrics_port
    watched = monitoring.listen(easel.metrics, port) if port else None
    work = asyncio.create_task(_work(application, settings))

    def stop() -> None:
        if not work.cancelling():  # a second signal must not interrupt the cleanup
            work.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await work
    except asyncio.CancelledError:
        if not work.cancelling():
            raise
    finally:
        if watched is not None:
            watched.stop()
        await application.shutdown()
        await easel.close()


async def _work(application: EaselApplication, settings: Settings) -> None:
    easel: Easel = application.bot_data
    contact = easel.metrics.contact
    await _retry_until_reachable(application.initialize, contact)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(easel.tracker.run())
        tasks.create_task(easel.catalogue.run())
        tasks.create_task(_clean_up(easel))
        tasks.create_task(profile.publish(easel))
        await application.start()
        try:
            await easel.inbox.resume(application.bot)
            async with _receiving(application, settings) as receiving:
                log.info("ready", bot_id=settings.bot_id, local_telegram=settings.local)
                await receiving
        finally:
            await application.stop()


@asynccontextmanager
async def _receiving(
    application: EaselApplication, settings: Settings
) -> AsyncIterator[Awaitable[object]]:
    """Receive updates, by webhook or polling; the yielded awaitable ends only by an error."""
    if settings.bot_webhook_url:
        server = listen(application, settings)
        try:
            contact = application.bot_data.metrics.contact
            await _retry_until_reachable(lambda: announce(application.bot, settings), contact)
            yield watch(application.bot, settings, contact)
        finally:
            server.stop()
            await server.close_all_connections()
        return
    updater = application.updater
    if updater is None:
        raise RuntimeError("the application was built without an updater")
    await updater.start_polling(
        bootstrap_retries=-1,
        allowed_updates=ALLOWED_UPDATES,
        error_callback=partial(_polling_failed, application.bot_data.metrics.contact),
    )
    # The updater's own task: if it fails, no update comes in, and the bot has to be restarted.
    [polling] = [task for task in asyncio.all_tasks() if task.get_name() == _POLLING]
    try:
        yield asyncio.shield(polling)
    finally:
        # It raises again what broke the polling.
        await asyncio.gather(updater.stop(), return_exceptions=True)


def _polling_failed(contact: Contact, error: TelegramError) -> None:
    if isinstance(error, Conflict):
        contact.conflicted()
        log.error("polling_conflict", hint="another process polls with this token")
    else:
        contact.failed(type(error).__name__)
        log.warning("polling_failed", reason=type(error).__name__)


async def _retry_until_reachable(call: Callable[[], Awaitable[None]], contact: Contact) -> None:
    """Repeat a call while Telegram cannot be reached: the bot waits for the network at boot."""
    pause = 0.5
    while True:
        try:
            await call()
        except (NetworkError, RetryAfter) as error:
            contact.failed(type(error).__name__)
            log.warning("telegram_unreachable", reason=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(_MAX_BACKOFF_S, pause * 2)
        else:
            return


async def _clean_up(easel: Easel) -> None:
    """Delete what has expired, so that the database does not grow without bound."""
    while True:
        easel.deliveries.forget_ended(easel.settings.bot_retention_days)
        easel.people.forget_albums(_ALBUM_RETENTION_S)
        easel.inbox.forget_old()
        await asyncio.sleep(_CLEANUP_INTERVAL_S)


if __name__ == "__main__":
    sys.exit(main())
