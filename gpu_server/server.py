"""The GPU server's application: wiring in one place, routes without logic."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from gpu_server import routes
from gpu_server.comfy.client import ComfyClient
from gpu_server.comfy.engine import Engine
from gpu_server.comfy.events import EventChannel
from gpu_server.jobs.cleanup import Leftovers
from gpu_server.jobs.execution import Drawing
from gpu_server.jobs.images import Pictures
from gpu_server.jobs.records import Records
from gpu_server.jobs.runner import Runner
from gpu_server.metrics import Metrics
from gpu_server.safety.guard import Guard
from gpu_server.service import Service
from gpu_server.settings import Settings
from gpu_server.timeouts import Patience
from policy import Policy
from web import VERSION, edge
from workflows import catalog as workflows

DEFAULT_PATIENCE = Patience()
log = structlog.get_logger()

MAX_BODY = 30_000_000
"""A photo of 20 MB in base64, and its request around it."""


def create_app(settings: Settings, patience: Patience = DEFAULT_PATIENCE) -> FastAPI:
    """The application; it connects to ComfyUI while its lifespan lasts, and waits for it."""
    catalog = settings.load_catalog()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_service(settings, catalog, patience) as service:
            app.state.service = service
            yield

    app = FastAPIOffline(
        title="Easel GPU server",
        version=VERSION,
        description="Runs ComfyUI graphs for the backend, one GPU each.",
        lifespan=lifespan,
    )
    edge.install(app, max_body=MAX_BODY)
    app.include_router(routes.router(settings.gpu_token.get_secret_value(), catalog))
    return app


def load_guard(settings: Settings) -> Guard:
    """The safety checks. A fault is told at /readyz: the server runs, and draws nothing."""
    guard = Guard.load(
        settings.easel_data_dir,
        settings.gpu_safety_strictness,
        settings.gpu_signing_certificate,
        settings.gpu_signing_key,
    )
    if guard.fault:
        log.error("safety_out_of_order", reason=guard.fault)
    return guard


@contextlib.asynccontextmanager
async def open_service(
    settings: Settings, catalog: workflows.Catalog, patience: Patience
) -> AsyncIterator[Service]:
    """Everything that runs behind the routes, from start to a clean end."""
    records = Records(settings.easel_data_dir / "gpu_server")
    await records.open()
    comfy = ComfyClient.at(settings.engine_url, timeout_s=patience.request_s)
    workers = min(settings.gpu_encode_workers, os.cpu_count() or 1)
    encoders = ThreadPoolExecutor(workers, "encode")
    try:
        # The same client id after a restart: a prompt still running then sends us its frames.
        client_id = await records.fact("client_id", uuid.uuid4().hex)
        kept = await records.all()
        service = build_service(
            settings,
            catalog,
            patience,
            records=records,
            comfy=comfy,
            encoders=encoders,
            client_id=client_id,
            guard=await asyncio.to_thread(load_guard, settings),
            policy=await asyncio.to_thread(Policy.load),
        )
        async with service.running(kept):
            yield service
    finally:
        encoders.shutdown(cancel_futures=True)
        await comfy.close()
        await records.close()


def build_service(
    settings: Settings,
    catalog: workflows.Catalog,
    patience: Patience,
    *,
    records: Records,
    comfy: ComfyClient,
    encoders: ThreadPoolExecutor,
    client_id: str,
    guard: Guard,
    policy: Policy,
) -> Service:
    """The parts, put together; nothing runs yet."""
    metrics = Metrics(VERSION)
    engine = Engine(comfy, catalog, metrics, patience, pid_file=settings.gpu_comfyui_pid_file)
    channel = EventChannel(
        settings.engine_url,
        client_id,
        on_lost=engine.suspect,
        metrics=metrics,
        patience=patience,
    )
    pictures = Pictures(comfy, catalog, guard, encoders, patience)
    drawing = Drawing(
        catalog=catalog,
        comfy=comfy,
        engine=engine,
        channel=channel,
        records=records,
        pictures=pictures,
        metrics=metrics,
        patience=patience,
    )
    runner = Runner(
        engine=engine,
        drawing=drawing,
        leftovers=Leftovers(comfy, engine),
        records=records,
        metrics=metrics,
        patience=patience,
        max_jobs=settings.gpu_max_jobs,
        result_ttl_s=settings.gpu_result_ttl_s,
    )
    return Service(
        settings,
        catalog,
        engine,
        channel,
        runner,
        drawing,
        pictures,
        guard,
        policy,
        metrics,
        encoders,
    )
