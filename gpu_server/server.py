"""The GPU server's application and the wiring of its parts."""

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from gpu_server import bodies, documentation, routes
from gpu_server.comfy import model_files
from gpu_server.comfy.client import ComfyClient
from gpu_server.comfy.engine import Engine
from gpu_server.comfy.events import EventChannel
from gpu_server.health import Background, PodHealth
from gpu_server.jobs.cleanup import Cleanup
from gpu_server.jobs.execution import JobExecution
from gpu_server.jobs.images import JobImages
from gpu_server.jobs.records import Records
from gpu_server.jobs.runner import Runner
from gpu_server.metrics import Metrics
from gpu_server.models.manifest import load_manifest
from gpu_server.safety.guard import Guard
from gpu_server.service import Service
from gpu_server.settings import Settings
from gpu_server.timeouts import Timeouts
from policy import Policy
from web import VERSION, edge
from web.api import document, front_page
from web.same_origin import SameOrigin
from web.settings import without_password
from workflows.live import LiveCatalog

DEFAULT_TIMEOUTS = Timeouts()


@dataclass(frozen=True)
class Pod:
    """What the routes use of a GPU server."""

    service: Service
    health: PodHealth


def create_app(settings: Settings, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> FastAPI:
    """Create the application. While its lifespan lasts it keeps connecting to ComfyUI."""
    live = settings.live_catalog()
    model_files.know(load_manifest(own=settings.own_models))

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_pod(settings, live, timeouts) as pod:
            app.state.pod = pod
            yield

    app = FastAPIOffline(
        title="Easel GPU server",
        version=VERSION,
        description="Runs ComfyUI graphs for the backend, one GPU each.",
        lifespan=lifespan,
        **document.options(documentation.TAGS),
    )
    front_page.add(app, documentation.ADDRESSES)
    token = settings.gpu_token.get_secret_value()
    same_origin = SameOrigin(advice="set GPU_TOKEN, or call it as http://127.0.0.1")
    edge.install(app, max_body=bodies.MAX_BODY, needs_key=bool(token), same_origin=same_origin)
    app.include_router(routes.router(token, live))
    live.follow(lambda _: document.renew(app))
    return app


@contextlib.asynccontextmanager
async def open_pod(settings: Settings, live: LiveCatalog, timeouts: Timeouts) -> AsyncIterator[Pod]:
    """Open, wire and run everything behind the routes, from the start to a clean end."""
    async with contextlib.AsyncExitStack() as stack:
        records = Records(settings.easel_data_dir / "gpu_server")
        await records.open()
        stack.push_async_callback(records.close)
        comfy = ComfyClient.at(settings.engine_url, timeout_s=timeouts.request_s)
        stack.push_async_callback(comfy.close)
        threads = min(settings.gpu_encode_workers, os.cpu_count() or 1)
        workers = ThreadPoolExecutor(threads, "encode")
        stack.callback(workers.shutdown, cancel_futures=True)
        guard = await asyncio.to_thread(
            Guard.load,
            settings.easel_data_dir,
            settings.gpu_safety_strictness,
            settings.gpu_signing_certificate,
            settings.gpu_signing_key,
        )
        metrics, background = Metrics(VERSION), Background()
        engine = Engine(
            comfy=comfy,
            live=live,
            metrics=metrics,
            timeouts=timeouts,
            pid_file=settings.gpu_comfyui_pid_file,
            packs=settings.comfyui_custom_nodes,
        )
        channel = EventChannel(
            url=settings.engine_url,
            # The same id after a restart: frames of a prompt still running then reach us.
            client_id=await records.fact("client_id", uuid.uuid4().hex),
            on_lost=engine.suspect,
            metrics=metrics,
            timeouts=timeouts,
        )
        images = JobImages(comfy=comfy, guard=guard, workers=workers, timeouts=timeouts)
        execution = JobExecution(
            live=live,
            comfy=comfy,
            engine=engine,
            channel=channel,
            records=records,
            images=images,
            metrics=metrics,
            timeouts=timeouts,
        )
        runner = Runner(
            engine=engine,
            execution=execution,
            cleanup=Cleanup(comfy, engine),
            records=records,
            metrics=metrics,
            timeouts=timeouts,
            max_jobs=settings.gpu_max_jobs,
            result_ttl_s=settings.gpu_result_ttl_s,
        )
        service = Service(
            live=live,
            engine=engine,
            runner=runner,
            guard=guard,
            policy=await asyncio.to_thread(Policy.load),
            workers=workers,
            timeouts=timeouts,
            job_timeout_s=settings.gpu_job_timeout_s,
            warms_up=settings.gpu_warm_up,
        )
        health = PodHealth(
            engine_url=without_password(settings.engine_url),
            live=live,
            engine=engine,
            channel=channel,
            execution=execution,
            runner=runner,
            guard=guard,
            figures=metrics,
            background=background,
        )
        kept = await records.all()
        await images.warm_up()
        endless = {
            "catalog": live.run(),
            "engine": engine.run(),
            "event_channel": channel.run(),
            "runner": runner.run(kept),
        }
        async with background.running(endless, service.warm_up()):
            await runner.ready.wait()
            yield Pod(service, health)
