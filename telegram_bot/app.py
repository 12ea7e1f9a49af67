"""Put the bot together. Nothing is opened except the bot's own database file."""

from typing import Any, cast
from urllib.parse import urlsplit

from telegram import Update
from telegram.ext import ApplicationBuilder, BaseHandler, ContextTypes, ExtBot, TypeHandler

from backend.client import BackendClient
from telegram_bot import access
from telegram_bot.catalogue import Catalogue
from telegram_bot.context import Context, Easel, EaselApplication
from telegram_bot.flows import (
    admin,
    asking,
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
from telegram_bot.metrics import Metrics
from telegram_bot.processor import PerPerson
from telegram_bot.settings import Settings
from telegram_bot.storage.database import Database
from telegram_bot.storage.deliveries import Deliveries
from telegram_bot.storage.inbox import Inbox
from telegram_bot.storage.people import People
from telegram_bot.texts import Languages
from telegram_bot.transport import Transport, UpdatesTransport
from web.same_origin import is_loopback

_BEFORE_FLOWS = -1
_MAX_CONNECTIONS = 64
_MAX_STREAMS = 2000
_CONNECT_TIMEOUT_S = 5.0
_POOL_TIMEOUT_S = 60.0


def build_application(settings: Settings) -> EaselApplication:
    """Build the bot, ready to be initialised and run."""
    key = settings.bot_backend_key.get_secret_value()
    backend = BackendClient.at(settings.bot_backend_url, key)
    events = BackendClient.at(settings.bot_backend_url, key, connections=_MAX_STREAMS)
    database = Database(settings.database)
    limiter, inbox, languages = RateLimiter(), Inbox(database), Languages()
    deliveries, people = Deliveries(database), People(database)
    metrics = Metrics(database, deliveries)
    inbox.report_skips(metrics.skipped)
    bot = _bot(settings, limiter, metrics)
    catalogue, editor = Catalogue(backend, database), Editor(bot, limiter)
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
        metrics=metrics,
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
    _register(application, settings)
    return application


def _register(application: EaselApplication, settings: Settings) -> None:
    application.add_handler(TypeHandler(Update, access.let_in), _BEFORE_FLOWS)
    flows = (start, free, restyle, history, preferences, privacy)
    menus = {
        name: on_press for flow in (*flows, asking, admin) for name, on_press in flow.MENUS.items()
    }
    jobs = {**results.JOBS, **redraw.JOBS}
    handlers: list[BaseHandler[Any, Context, Any]] = [presses.handler(menus, jobs)]
    for flow in flows:
        handlers += flow.handlers()
    handlers += [*admin.handlers(settings.bot_admins), *errors.handlers()]
    application.add_handlers(handlers)
    application.add_error_handler(errors.on_error)


def _bot(settings: Settings, limiter: RateLimiter, metrics: Metrics) -> ExtBot[Urgency]:
    url = settings.api_url
    return ExtBot(
        settings.token,
        base_url=url,
        base_file_url=f"{url.removesuffix('/bot')}/file/bot",
        request=Transport(metrics, **_options(settings, _MAX_CONNECTIONS)),
        get_updates_request=UpdatesTransport(metrics, **_options(settings, 2)),
        rate_limiter=limiter,
    )


def _options(settings: Settings, connections: int) -> dict[str, Any]:
    local = is_loopback(urlsplit(settings.api_url).hostname or "")
    return {
        "connection_pool_size": connections,
        "read_timeout": settings.bot_api_timeout_s,
        "write_timeout": settings.bot_api_timeout_s,
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "pool_timeout": _POOL_TIMEOUT_S,
        "media_write_timeout": 2 * settings.bot_api_timeout_s,
        "httpx_kwargs": {"trust_env": not local},
    }
