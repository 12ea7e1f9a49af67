"""Durable workflows: the one module that knows DBOS Transact.

Each generation that a pod is given is a workflow under its own id with two recorded steps, the
pod chosen and the outcome. (While it waits in line its committed row is its promise.) DBOS resumes
after a crash what was pending; the steps find the dispatcher's work under the same id, so nothing
is asked twice. DBOS is one per process, hence the module's state.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
import structlog
from dbos import DBOS, DBOSConfig, SetWorkflowID, WorkflowStatusString

from backend.dispatch.dispatcher import Dispatcher

log = structlog.get_logger()
T = TypeVar("T")

EXECUTOR = "scheduler"
"""Always the same: whoever schedules next resumes the workflows of the one before."""
APPLICATION_VERSION = "1"
KEEP_ENDED_S = 60.0
SWEEP_BATCH = 500
DESTROY_S = 10.0
LAUNCH_AGAIN_S = 2.0
_ENDED = [
    status.value
    for status in (
        WorkflowStatusString.SUCCESS,
        WorkflowStatusString.ERROR,
        WorkflowStatusString.CANCELLED,
        WorkflowStatusString.MAX_RECOVERY_ATTEMPTS_EXCEEDED,
    )
]

_serving: "Serving | None" = None


@dataclass(frozen=True)
class Serving:
    """The dispatcher and its event loop: DBOS resumes workflows in a loop of its own."""

    dispatcher: Dispatcher
    loop: asyncio.AbstractEventLoop

    async def ask(self, question: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(question, self.loop))


def _current() -> Serving:
    if _serving is None:
        raise RuntimeError("this process does not schedule")
    return _serving


@DBOS.step()
async def choose_pod(generation_id: str) -> str | None:
    serving = _current()
    return await serving.ask(serving.dispatcher.assigned(UUID(generation_id)))


@DBOS.step()
async def draw(generation_id: str) -> str:
    serving = _current()
    return await serving.ask(serving.dispatcher.drawn(UUID(generation_id)))


@DBOS.workflow(max_recovery_attempts=1000)
async def generation(generation_id: str) -> str:
    await choose_pod(generation_id)
    return await draw(generation_id)


class Workflows:
    """DBOS in this process, while it schedules."""

    def __init__(self, url: str, engine: sa.Engine | None) -> None:
        self._config: DBOSConfig = {
            "name": "easel",
            "system_database_url": url,
            "executor_id": EXECUTOR,
            "application_version": APPLICATION_VERSION,
            "log_level": "CRITICAL",
        }
        if engine is not None:
            self._config["system_database_engine"] = engine
            sa.event.listen(engine, "connect", _sync_seldom)
        self._given: asyncio.Queue[UUID] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "dbos")
        """DBOS is launched and destroyed here, one after the other: both may wait for long."""

    def record(self, generation_id: UUID) -> None:
        """Have a workflow for this generation; returns at once."""
        self._given.put_nowait(generation_id)

    async def run(self, dispatcher: Dispatcher) -> None:
        """Resume what was pending and keep a workflow for each generation, until cancelled."""
        global _serving  # noqa: PLW0603 - DBOS itself is one per process
        await dispatcher.taken_up.wait()
        _serving = Serving(dispatcher, asyncio.get_running_loop())
        try:
            await self._launch()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._sweep())
                await self._start_given()
        finally:
            await self._destroy()
            self._thread.shutdown(wait=False)
            _serving = None

    async def _launch(self) -> None:
        """Launch DBOS; when its database is away, until it is back."""

        def launch() -> None:
            DBOS(config=self._config)
            logging.getLogger("dbos").setLevel(logging.CRITICAL)
            DBOS.launch()

        while True:
            try:
                await self._in_thread(launch)
            except sa.exc.OperationalError as error:
                log.warning("workflows_unavailable", error=type(error).__name__)
                await self._destroy()
                await asyncio.sleep(LAUNCH_AGAIN_S)
            else:
                return

    async def _destroy(self) -> None:
        """End DBOS. It takes the loop's default executor for its own and shuts it down: replace
        it."""
        with suppress(TimeoutError):  # a silent database: DBOS ends later, before the next launch
            async with asyncio.timeout(DESTROY_S):
                await self._in_thread(DBOS.destroy)
        executor = ThreadPoolExecutor(thread_name_prefix="loop")
        asyncio.get_running_loop().set_default_executor(executor)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _start_given(self) -> None:
        resumed = {
            workflow.workflow_id
            for workflow in await DBOS.list_workflows_async(
                status=WorkflowStatusString.PENDING.value, load_input=False, load_output=False
            )
        }
        while True:
            generation_id = str(await self._given.get())
            if generation_id in resumed:
                resumed.discard(generation_id)
                continue
            with SetWorkflowID(generation_id):
                await DBOS.start_workflow_async(generation, generation_id)

    async def _sweep(self) -> None:
        """Forget the logs of workflows that ended; what is kept of a generation is its row."""
        while True:
            await asyncio.sleep(KEEP_ENDED_S)
            before = (datetime.now(UTC) - timedelta(seconds=KEEP_ENDED_S)).isoformat()
            with suppress(sa.exc.OperationalError):
                while found := await DBOS.list_workflows_async(
                    status=_ENDED,
                    completed_before=before,
                    limit=SWEEP_BATCH,
                    load_input=False,
                    load_output=False,
                ):
                    await DBOS.delete_workflows_async([w.workflow_id for w in found])


def _sync_seldom(connection: Any, _: Any) -> None:
    # The rows are the promise, synced at each commit; the steps' log outlives a killed process
    # without that, and after a power cut it is only asked again what the rows say.
    connection.execute("PRAGMA synchronous = NORMAL")
