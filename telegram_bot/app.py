"""Put the bot together. Nothing is opened except the bot's own database file."""

from typing import Any, cast
from urllib.parse import urlsplit

from telegram.ext import ApplicationBuilder, BaseHandler, ContextTypes, ExtBot
from telegram.request import HTTPXRequest

from backend.client import BackendClient
from telegram_bot import access
from telegram_bot.catalogue import Catalogue
from telegram_bot.context import Context, Easel, EaselApplication
from telegram_bot.flows import (
    admin,
    errors,
    free,
    history,
    presses,
    privacy,
    redraw,
    restyle,
    results,
    start,
)
from telegram_bot.flows import settings as preferences
from telegram_bot.generating.tracker import Tracker
from telegram_bot.messages.editor import Editor
from telegram_bot.messages.rate_limiter import RateLimiter, Urgency
from telegram_bot.processor import PerPerson
from telegram_bot.settings import Settings
from telegram_bot.storage.database import Database
from telegram_bot.storage.deliveries import Deliveries
from telegram_bot.storage.inbox import Inbox
from telegram_bot.storage.people import People
from telegram_bot.texts import Languages
from web.settings import is_loopback

_MAX_CONNECTIONS = 64
_CONNECT_TIMEOUT_S = 5.0
_POOL_TIMEOUT_S = 60.0


def build_application(
    settings: Settings, backend: BackendClient, events: BackendClient | None = None
) -> EaselApplication:
    """Build the bot, ready to be initialised and run.

    `events` is the same backend over a pool with a connection for each generation's stream.
    """
    database = Database(settings.database)
    limiter, inbox = RateLimiter(), Inbox(database)
    bot = _bot(settings, limiter)
    deliveries, people, languages = Deliveries(database), People(database), Languages()
    catalogue, editor = Catalogue(backend, database), Editor(bot, limiter)
    events = events or backend
    tracker = Tracker(
        backend=backend,
        events=events,
        deliveries=deliveries,
        people=people,
        catalogue=catalogue,
        editor=editor,
        languages=languages,
    )
    easel = Easel(
        settings=settings,
        backend=backend,
        events=events,
        database=database,
        inbox=inbox,
        deliveries=deliveries,
        people=people,
        catalogue=catalogue,
        languages=languages,
        editor=editor,
        tracker=tracker,
    )
    application: EaselApplication = (
        ApplicationBuilder()
        .bot(bot)
        .context_types(ContextTypes(context=Context, bot_data=cast(type[Easel], lambda: easel)))
        .update_queue(inbox)
        .concurrent_updates(PerPerson(inbox))
        .job_queue(None)
        .build()
    )
    _register(application)
    return application


def _register(application: EaselApplication) -> None:
    application.add_handler(access.handler(), access.GROUP)
    flows = (start, free, restyle, history, preferences, privacy, admin)
    menus = {action: on_press for flow in flows for action, on_press in flow.MENUS.items()}
    jobs = {**results.JOBS, **redraw.JOBS}
    handlers: list[BaseHandler[Any, Context, Any]] = [presses.handler(menus, jobs)]
    for flow in (*flows, errors):
        handlers += flow.handlers()
    application.add_handlers(handlers)
    application.add_error_handler(errors.on_error)


def _bot(settings: Settings, limiter: RateLimiter) -> ExtBot[Urgency]:
    url = settings.api_url
    return ExtBot(
        settings.token,
        base_url=url,
        base_file_url=f"{url.removesuffix('/bot')}/file/bot",
        request=_request(settings, _MAX_CONNECTIONS, settings.bot_api_timeout_s),
        get_updates_request=_request(settings, 2, settings.bot_api_timeout_s),
        rate_limiter=limiter,
    )


def _request(settings: Settings, connections: int, timeout_s: float) -> HTTPXRequest:
    local = is_loopback(urlsplit(settings.api_url).hostname or "")
    return HTTPXRequest(
        connection_pool_size=connections,
        read_timeout=timeout_s,
        write_timeout=timeout_s,
        connect_timeout=_CONNECT_TIMEOUT_S,
        pool_timeout=_POOL_TIMEOUT_S,
        media_write_timeout=2 * timeout_s,
        httpx_kwargs={"trust_env": not local},
    )
