"""The backend's application: wiring in one place."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from backend.dispatch.dispatcher import Dispatcher
from backend.expiry import expire
from backend.health import Platform
from backend.limits.quotas import Keys, Quotas
from backend.limits.refusals import Abuse
from backend.metrics import Metrics
from backend.openai import routes as openai_routes
from backend.openai.translation import Links
from backend.replication.leadership import Leadership
from backend.replication.relay import Relay
from backend.routes import generations, health
from backend.scheduling.scheduler import Limits
from backend.service import GenerationService
from backend.settings import Settings
from backend.storage.database import Database
from backend.storage.generations import Store
from backend.transcoding import Transcoder
from gpu_server.client import GpuClient
from gpu_server.pictures.provenance import Signer
from policy import Policy
from web import VERSION, edge
from web.errors import EaselError
from web.tasks import end_if_broken
from workflows import catalog as workflows

MAX_BODY = 30_000_000
"""A photo of 20 MB in base64, and its request around it."""


def create_app(settings: Settings) -> FastAPI:
    """The application; it schedules while its lifespan lasts.

    Raises CatalogError, or ProvenanceError when pictures could not be signed.
    """
    catalog = settings.load_catalog()
    policy = Policy.load()
    signer = Signer.load(
        settings.easel_data_dir, settings.backend_signing_certificate, settings.backend_signing_key
    )

    @contextlib.asynccontextmanager
    async def serve() -> AsyncIterator[None]:
        async with open_service(settings, catalog, policy, signer) as service:
            app.state.service = service
            yield

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if leadership is None:
            async with serve():
                yield
            return
        striving = asyncio.create_task(leadership.run(serve), name="leadership")
        striving.add_done_callback(end_if_broken)
        try:
            yield
        finally:
            striving.cancel()
            await asyncio.gather(striving, return_exceptions=True)

    leadership = None
    if settings.is_shared:
        url = settings.backend_database_url.get_secret_value()
        leadership = Leadership(url, settings.own_url)

    def let_go() -> None:
        if leadership is not None:
            leadership.resign()
        if (service := getattr(app.state, "service", None)) is not None:
            service.dispatcher.drop()

    app = FastAPIOffline(
        title="Easel",
        version=VERSION,
        description="Pictures from your own GPU: modes, styles, a queue that loses nothing.",
        lifespan=lifespan,
    )
    app.state.let_go = let_go
    app.state.keys = Keys(settings.backend_api_keys)
    if leadership is not None:
        app.add_middleware(Relay, leadership=leadership)
    edge.install(app, max_body=MAX_BODY, render=render_error)
    if settings.backend_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.backend_cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
        )
    app.include_router(generations.router(catalog))
    app.include_router(openai_routes.router(catalog, Links.of(settings.backend_api_keys)))
    app.include_router(health.router())
    return app


def render_error(error: EaselError, request: Request, request_id: str) -> Response:
    """A problem; below /v1 in OpenAI's shape."""
    of_openai = request.url.path.startswith("/v1/")
    render = openai_routes.render_error if of_openai else edge.problem_response
    return render(error, request, request_id)


@contextlib.asynccontextmanager
async def open_service(
    settings: Settings, catalog: workflows.Catalog, policy: Policy, signer: Signer
) -> AsyncIterator[GenerationService]:
    """Everything that runs behind the routes, from start to a clean end."""
    metrics = Metrics(VERSION)
    database = Database(settings.database_url)
    store = Store(database, settings.images_url)
    await store.open()
    token = settings.backend_gpu_token.get_secret_value()
    clients = {
        url: GpuClient.at(url, token, edge.trace_headers) for url in settings.backend_gpu_servers
    }
    abuse = Abuse(database)
    await abuse.open()
    dispatcher = Dispatcher(
        store,
        abuse,
        metrics,
        Limits(settings.backend_max_queue, settings.backend_user_max_active),
        clients,
        settings.backend_no_gpu_patience_s,
    )
    service = GenerationService(
        catalog,
        store,
        dispatcher,
        policy,
        Quotas(settings.backend_rate_per_minute, settings.backend_daily_images),
        metrics,
        Platform(catalog, dispatcher, metrics, settings.backend_max_queue),
        abuse,
        Transcoder(signer),
        settings.backend_generation_timeout_s,
        settings.backend_public_url,
    )
    metrics.scheduling.set(1)
    ready = asyncio.Event()
    tasks = [
        asyncio.create_task(dispatcher.run(ready), name="dispatcher"),
        asyncio.create_task(expire(store, abuse, settings.backend_result_ttl_hours), name="expiry"),
    ]
    for task in tasks:
        task.add_done_callback(end_if_broken)
    try:
        await _started(ready, tasks)
        yield service
    finally:
        dispatcher.drop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in clients.values():
            await client.close()
        await database.close()


async def _started(ready: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Raises what a task ended with before it was ready."""
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    for task in tasks:
        if task.done():
            await task
