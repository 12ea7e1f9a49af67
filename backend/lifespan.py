"""What runs behind the routes while this process schedules: all wiring of it is here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass

from backend import views
from backend.acceptance import Acceptance
from backend.dispatch.dispatcher import Dispatcher
from backend.expiry import expire
from backend.health import Platform
from backend.limits.quotas import Quotas
from backend.limits.refusals import Refusals
from backend.links import Links
from backend.metrics import Metrics
from backend.scheduling.scheduler import Limits
from backend.service import GenerationService
from backend.settings import Settings
from backend.state import State
from backend.storage.database import Database
from backend.storage.generations import GenerationRow
from backend.storage.storage import Storage
from backend.webhooks import events
from backend.webhooks.deliveries import Deliveries
from backend.webhooks.sender import Sender
from gpu_server.client import GpuClient
from gpu_server.pictures.provenance import Signer
from policy import Policy
from web import edge
from web.settings import without_password
from web.tasks import end_if_broken
from workflows.live import LiveCatalog


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What is loaded once; only the catalogue changes, as its folders do."""

    settings: Settings
    last_written: float | None
    """When the SQLite file was written last, before this start."""
    live: LiveCatalog
    policy: Policy
    signer: Signer
    metrics: Metrics


@contextlib.asynccontextmanager
async def running(resources: Resources, state: State) -> AsyncIterator[None]:
    """Schedule, at once or whenever this replica leads; follow the folders of modes meanwhile."""
    async with contextlib.AsyncExitStack() as closing:
        await closing.enter_async_context(_task("catalog", resources.live.run()))
        if state.leadership is None:
            await closing.enter_async_context(schedule(resources, state))
        else:
            work = state.leadership.run(lambda: schedule(resources, state))
            await closing.enter_async_context(_task("leadership", work))
        yield


@contextlib.asynccontextmanager
async def _task(name: str, work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run it until the exit; the process ends if it breaks."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(end_if_broken)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


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
        return (base or settings.own_url) + links.path(row.id, number, lasting=True)

    return Deliveries(
        rows=storage.rows,
        sender=sender,
        keys=settings.webhook_keys,
        body=lambda row: events.body(row, views.ended(row), image_url),
        metrics=metrics,
        operator_url=settings.backend_webhook_url,
    )


def _service(resources: Resources, dispatcher: Dispatcher) -> GenerationService:
    settings, live = resources.settings, resources.live
    storage, refusals = dispatcher.storage, dispatcher.refusals
    max_queue = settings.backend_max_queue
    platform = Platform(live=live, dispatcher=dispatcher, max_queue=max_queue)
    acceptance = Acceptance(
        live=live,
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
        live=live,
        storage=storage,
        dispatcher=dispatcher,
        acceptance=acceptance,
        platform=platform,
        refusals=refusals,
        signer=resources.signer,
        public_url=settings.backend_public_url,
    )
