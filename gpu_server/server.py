"""The GPU server's application: wiring in one place, routes without logic."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI

from gpu_server import routes
from gpu_server.comfy_client import ComfyClient
from gpu_server.engine import Engine
from gpu_server.event_channel import EventChannel
from gpu_server.metrics import Metrics
from gpu_server.records import Records
from gpu_server.runner import Runner
from gpu_server.service import Service
from gpu_server.settings import Settings
from web import VERSION, edge
from workflows import catalog as workflows

MAX_BODY = 30_000_000
"""A photo of 20 MB in base64, and its request around it."""


def create_app(settings: Settings) -> FastAPI:
    """The application; it connects to ComfyUI while its lifespan lasts, and waits for it."""
    catalog = load_catalog(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_service(settings, catalog) as service:
            app.state.service = service
            yield

    app = FastAPI(
        title="Easel GPU server",
        version=VERSION,
        description="Runs ComfyUI graphs for the backend, one GPU each.",
        lifespan=lifespan,
    )
    edge.install(app, max_body=MAX_BODY)
    app.include_router(routes.router(settings.gpu_token.get_secret_value(), catalog))
    return app


def load_catalog(settings: Settings) -> workflows.Catalog:
    """The catalogue as this pod serves it."""
    further = [settings.easel_workflows_dir] if settings.easel_workflows_dir else []
    catalog = workflows.load(*further)
    if settings.easel_checkpoint:
        return catalog.with_checkpoint(
            settings.easel_checkpoint, settings.easel_controlnet, settings.easel_checkpoint_size
        )
    return catalog


@contextlib.asynccontextmanager
async def open_service(settings: Settings, catalog: workflows.Catalog) -> AsyncIterator[Service]:
    """Everything that runs behind the routes, from start to a clean end."""
    metrics = Metrics(VERSION)
    comfy = ComfyClient.at(settings.engine_url)
    records = Records(settings.easel_data_dir / "gpu_server")
    await records.open()
    engine = Engine(
        comfy,
        catalog,
        metrics,
        pid_file=settings.gpu_comfyui_pid_file,
    )
    # The same client id after a restart, so that a prompt still running sends us its frames.
    client_id = await records.fact("client_id", uuid.uuid4().hex)
    channel = EventChannel(settings.engine_url, client_id, on_lost=engine.suspect)
    workers = min(settings.gpu_encode_workers, os.cpu_count() or 1)
    encoders = ThreadPoolExecutor(workers, "encode")
    runner = Runner(
        catalog=catalog,
        comfy=comfy,
        engine=engine,
        channel=channel,
        records=records,
        metrics=metrics,
        max_jobs=settings.gpu_max_jobs,
        result_ttl_s=settings.gpu_result_ttl_s,
        encoders=encoders,
    )
    service = Service(settings, catalog, engine, channel, runner, metrics, encoders)
    tasks = [
        asyncio.create_task(work, name=name)
        for name, work in (
            ("engine", engine.run()),
            ("channel", channel.run()),
            ("runner", runner.run()),
            ("warm_up", service.warm_up()),
        )
    ]
    await runner.ready.wait()
    try:
        yield service
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        encoders.shutdown(cancel_futures=True)
        await comfy.close()
        await records.close()
