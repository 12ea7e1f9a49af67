"""Build the backend's application: all wiring is here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass

import structlog
from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline

from backend import views
from backend.acceptance import Acceptance
from backend.dispatch.dispatcher import Dispatcher
from backend.expiry import expire
from backend.health import Platform
from backend.limits.keys import Keys
from backend.limits.people import People
from backend.limits.quotas import Quotas
from backend.limits.refusals import Refusals
from backend.mcp import routes as mcp_routes
from backend.metrics import Metrics
from backend.openai import failures, routes
from backend.openai.links import Links
from backend.openai.models import Models
from backend.replication.leadership import Leadership
from backend.replication.relay import Relay
from backend.routes import documentation, generations, health
from backend.scheduling.scheduler import Limits
from backend.service import GenerationService
from backend.settings import Settings
from backend.state import State
from backend.storage.database import Database
from backend.storage.generations import GenerationRow
from backend.storage.storage import Storage, prepare
from backend.webhooks import events
from backend.webhooks.deliveries import Deliveries
from backend.webhooks.sender import Sender
from gpu_server import bodies
from gpu_server.client import GpuClient
from gpu_server.pictures.provenance import Signer
from policy import Policy
from web import VERSION, edge
from web.api import document, front_page
from web.api.cross_origin import CrossOrigin
from web.errors import EaselError
from web.same_origin import SameOrigin
from web.settings import without_password
from web.tasks import end_if_broken
from workflows.catalog import Catalog

log = structlog.get_logger()


def create_app(settings: Settings) -> FastAPI:
    """Return the application; it schedules during its lifespan, or while it leads.

    Raises UnknownAlias if a setting names a model that does not exist, ProvenanceError if images
    could not be signed, DatabaseRefused if the database is damaged, of a newer release or cannot be
    opened.
    """
    last_written = prepare(settings.database_url, settings.images_url)
    certificate, key = settings.backend_signing_certificate, settings.backend_signing_key
    resources = Resources(
        settings=settings,
        last_written=last_written,
        catalog=settings.load_catalog(),
        policy=Policy.load(),
        signer=Signer.load(settings.easel_data_dir, certificate, key),
        metrics=Metrics(VERSION),
    )
    leadership = None
    if settings.is_shared:
        leadership = Leadership(settings.backend_database_url.get_secret_value(), settings.own_url)
    Models(resources.catalog, settings.backend_model_aliases).check_aliases()
    state = State(
        keys=Keys(settings.backend_api_keys),
        people=_people(settings),
        leadership=leadership,
        model_aliases=settings.backend_model_aliases,
        answers_chats=settings.backend_chat_completions,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running(resources, state):
            yield

    app = FastAPIOffline(
        title="Easel",
        version=VERSION,
        description="Draws pictures on your own GPU, for people in Telegram and for programs.",
        lifespan=lifespan,
        **document.options(documentation.TAGS, settings.backend_public_url),
    )
    front_page.add(app, documentation.ADDRESSES)
    state.install(app)
    _add_middleware(app, resources, leadership)
    app.include_router(generations.router(resources.catalog))
    app.include_router(routes.router)
    app.include_router(mcp_routes.router())
    app.include_router(health.router)
    return app


def _people(settings: Settings) -> People:
    if settings.backend_user_header and not settings.backend_api_keys:
        log.warning("user_header_unused", reason="BACKEND_USER_HEADER needs BACKEND_API_KEYS")
        return People()
    return People(settings.backend_user_header)


def _add_middleware(app: FastAPI, resources: "Resources", leadership: Leadership | None) -> None:
    """Add the layers around the routes, the innermost first."""
    settings = resources.settings
    if leadership is not None:
        app.add_middleware(Relay, leadership=leadership, keys=Keys(settings.backend_api_keys))
    edge.install(
        app,
        max_body=bodies.MAX_BODY,
        needs_key=bool(settings.backend_api_keys),
        same_origin=_same_origin(settings),
        render=render_error,
        on_error=resources.metrics.answered_with,
        verbatim="/users/",
    )
    if settings.backend_cors_origins:
        app.add_middleware(CrossOrigin, origins=settings.backend_cors_origins)


def _same_origin(settings: Settings) -> SameOrigin:
    return SameOrigin.of(
        [settings.backend_public_url, settings.backend_advertise_url],
        settings.backend_cors_origins,
        advice="set BACKEND_API_KEYS, or name the address in BACKEND_PUBLIC_URL, "
        "the page's origin in BACKEND_CORS_ORIGINS",
    )


def render_error(error: EaselError, request: Request, request_id: str) -> Response:
    """Render a problem; where OpenAI's clients call, in OpenAI's shape."""
    render = failures.answer if routes.is_openai(request.url.path) else edge.problem_response
    return render(error, request, request_id)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What is loaded once and does not change."""

    settings: Settings
    last_written: float | None
    """When the SQLite file was written last, before this start."""
    catalog: Catalog
    policy: Policy
    signer: Signer
    metrics: Metrics


@contextlib.asynccontextmanager
async def running(resources: Resources, state: State) -> AsyncIterator[None]:
    """Schedule, at once or whenever this replica leads."""
    if state.leadership is None:
        async with schedule(resources, state):
            yield
        return
    work = state.leadership.run(lambda: schedule(resources, state))
    leading = asyncio.create_task(work, name="leadership")
    leading.add_done_callback(end_if_broken)
    try:
        yield
    finally:
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)


@contextlib.asynccontextmanager
async def schedule(resources: Resources, state: State) -> AsyncIterator[None]:
    """Open everything behind the routes, and close it in order."""
    settings = resources.settings
    token = settings.backend_gpu_token.get_secret_value()
    clients = {
        without_password(url): GpuClient.at(url, token, edge.trace_headers)
        for url in settings.backend_gpu_servers
    }
    database, metrics = Database(settings.database_url), resources.metrics
    async with contextlib.AsyncExitStack() as closing:
        metrics.scheduling.set(1)
        closing.callback(metrics.scheduling.set, 0)
        closing.push_async_callback(database.close)
        for client in clients.values():
            closing.push_async_callback(client.close)
        storage = await Storage.open(
            database, settings.images_url, tells_operator=bool(settings.backend_webhook_url)
        )
        metrics.unreadable.set_function(lambda: len(storage.rows.unreadable))
        refusals = Refusals(database)
        await refusals.open()
        dispatcher = Dispatcher(
            storage=storage,
            refusals=refusals,
            metrics=metrics,
            limits=Limits(settings.backend_max_queue, settings.backend_user_max_active),
            clients=clients,
            no_gpu_timeout_s=settings.backend_no_gpu_patience_s,
        )
        hours = settings.backend_result_ttl_hours
        service = _service(resources, dispatcher)
        others = {
            "expiry": expire(storage, refusals, hours, resources.last_written),
            "turns": dispatcher.queue.turns.run(service.acceptance.let_in),
        }
        if settings.webhook_keys:
            sender = Sender(addresses=settings.webhook_addresses)
            closing.push_async_callback(sender.close)
            others["webhooks"] = _deliveries(settings, storage, sender, metrics).run()
        async with _working(dispatcher, others):
            state.service = service
            yield


@contextlib.asynccontextmanager
async def _working(
    dispatcher: Dispatcher, others: Mapping[str, Coroutine[None, None, None]]
) -> AsyncIterator[None]:
    """Run the dispatcher, which is ready on entry, and the others."""
    ready = asyncio.Event()
    work = {"dispatcher": dispatcher.run(ready), **others}
    tasks = [asyncio.create_task(one, name=name) for name, one in work.items()]
    for task in tasks:
        task.add_done_callback(end_if_broken)
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                await task  # raises what it ended with
        yield
    finally:
        waiting.cancel()
        dispatcher.queue.drop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _deliveries(
    settings: Settings, storage: Storage, sender: Sender, metrics: Metrics
) -> Deliveries:
    links, base = Links.of(settings.backend_api_keys), settings.backend_public_url

    def image_url(row: GenerationRow, number: int) -> str:
        return (base or settings.own_url) + links.path(row.id, number)

    return Deliveries(
        rows=storage.rows,
        sender=sender,
        keys=settings.webhook_keys,
        body=lambda row: events.body(row, views.ended(row), image_url),
        metrics=metrics,
        operator_url=settings.backend_webhook_url,
    )


def _service(resources: Resources, dispatcher: Dispatcher) -> GenerationService:
    settings, catalog = resources.settings, resources.catalog
    storage, refusals = dispatcher.storage, dispatcher.refusals
    max_queue = settings.backend_max_queue
    platform = Platform(catalog=catalog, dispatcher=dispatcher, max_queue=max_queue)
    acceptance = Acceptance(
        catalog=catalog,
        storage=storage,
        dispatcher=dispatcher,
        policy=resources.policy,
        quotas=Quotas(
            per_minute=settings.backend_rate_per_minute,
            images_per_day=settings.backend_daily_images,
        ),
        refusals=refusals,
        metrics=dispatcher.metrics,
        platform=platform,
        timeout_s=settings.backend_generation_timeout_s,
        webhooks=settings.webhook_addresses if settings.webhook_keys else None,
    )
    return GenerationService(
        catalog=catalog,
        storage=storage,
        dispatcher=dispatcher,
        acceptance=acceptance,
        platform=platform,
        refusals=refusals,
        signer=resources.signer,
        public_url=settings.backend_public_url,
    )
