"""What becomes of generations when pods, the picture store or the database let them down."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from backend.dispatch.active import Live
from backend.dispatch.dispatcher import MAX_FAILURES, Dispatcher
from backend.dispatch.pods import LOST_AFTER_S
from backend.limits.refusals import Abuse
from backend.metrics import Metrics
from backend.scheduling.scheduler import Limits
from backend.storage.database import Database
from backend.storage.generations import Order, Row, Store
from gpu_server.client import GpuClient
from gpu_server.schemas import State
from tests.backend.dispatch.scripted_pod import IMAGE, PICTURE, ScriptedPod, scripted_pod
from tests.backend.processes import PATIENCE_S, until
from web import errors
from workflows.parameters import Request


@dataclass
class Scheduling:
    """A dispatcher at work with one pod, and what it keeps."""

    dispatcher: Dispatcher
    database: Database
    store: Store
    images: Path
    pod: ScriptedPod
    url: str

    async def accept(self) -> Live:
        row = new_row()
        await self.store.add(row)
        return self.dispatcher.take(row)

    async def lose_the_pod(self) -> None:
        """It goes out of service and has been for longer than it may keep jobs."""
        seen = self.dispatcher.pods[self.url]
        self.pod.in_service = False
        seen.suspect()
        await holds(lambda: not seen.in_service, "the pod to go out of service")
        seen.last_well -= 2 * LOST_AFTER_S


def new_row() -> Row:
    request = Request(mode="tiny", style="plain", seed=1, prompt="a lake")
    order = Order(request, "png", 0, "tiny.safetensors", 60.0, has_photo=False)
    return Row(uuid4(), "shop", "anna", "mark", order, time.time())


async def holds(condition: Callable[[], bool], what: str) -> None:
    async def look() -> bool:
        return condition()

    await until(look, what, pause=0.02)


async def runs(live: Live) -> None:
    await holds(lambda: live.state is State.running, "the generation to run")


async def ended(live: Live) -> Row:
    async with asyncio.timeout(PATIENCE_S):
        await live.done.wait()
    return live.row


@contextlib.asynccontextmanager
async def scheduling(folder: Path) -> AsyncIterator[Scheduling]:
    database = Database(f"sqlite:///{folder / 'easel.sqlite3'}")
    images = folder / "images"
    store = Store(database, images.as_uri())
    await store.open()
    async with scripted_pod() as (pod, url):
        client = GpuClient.at(url)
        dispatcher = Dispatcher(
            store,
            Abuse(database),
            Metrics("test"),
            Limits(100, 100),
            {url: client},
            no_gpu_patience_s=1800,
        )
        ready = asyncio.Event()
        running = asyncio.create_task(dispatcher.run(ready))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await ready.wait()
            yield Scheduling(dispatcher, database, store, images, pod, url)
            assert not running.done(), "the dispatcher ended"
        finally:
            running.cancel()
            await asyncio.wait({running})
            await client.close()
            await database.close()


@pytest.fixture
async def easel(tmp_path: Path) -> AsyncIterator[Scheduling]:
    async with scheduling(tmp_path) as made:
        yield made


async def test_a_generation_that_every_pod_is_lost_of_is_given_up(easel: Scheduling) -> None:
    live = await easel.accept()
    for times in range(1, MAX_FAILURES + 1):
        await runs(live)
        assert len(easel.pod.puts) == times
        await easel.lose_the_pod()
        await holds(lambda: live.state is not State.running, "the generation to be moved")
        easel.pod.in_service = True
        easel.dispatcher.pods[easel.url].suspect()
    row = await ended(live)
    assert row.status is State.failed
    assert row.outcome is not None
    assert row.outcome["error"]["code"] == "engine_lost"
    kept = await easel.store.get(row.id)
    assert kept is not None
    assert kept.outcome == row.outcome
    await holds(lambda: row.id in easel.pod.deletes, "the pod to be told to stop it")
    assert len(easel.pod.puts) == MAX_FAILURES


async def test_what_ended_elsewhere_keeps_its_result(easel: Scheduling) -> None:
    live = await easel.accept()
    await runs(live)
    outcome = {"engine": "another", "images": [IMAGE.model_dump()]}
    other = replace(live.row, status=State.succeeded, ended=time.time(), outcome=outcome)
    await easel.store.put_image(other.id, 0, PICTURE)
    assert await easel.store.end(other) == other
    easel.pod.error = errors.EngineError("It broke")
    easel.pod.finish()
    row = await ended(live)
    assert (row.status, row.outcome) == (State.succeeded, outcome)
    await holds(lambda: row.id in easel.pod.deletes, "the pod to be told to forget it")
    found = await easel.store.get(row.id)
    assert found is not None
    assert (found.status, found.outcome) == (State.succeeded, outcome)
    assert await easel.store.image(row.id, 0) == PICTURE


async def test_what_was_deleted_meanwhile_leaves_no_picture(easel: Scheduling) -> None:
    live = await easel.accept()
    await runs(live)
    await easel.store.delete([live.row])
    easel.pod.finish()
    row = await ended(live)
    await holds(lambda: row.id in easel.pod.deletes, "the pod to be told to forget it")
    assert await easel.store.image(row.id, 0) is None


async def test_what_was_committed_and_never_taken_is_drawn(easel: Scheduling) -> None:
    easel.pod.finish()
    row = new_row()
    await easel.store.add(row)

    async def drawn() -> bool:
        found = await easel.store.get(row.id)
        return found is not None and found.status is State.succeeded

    await until(drawn, "it to be found and drawn")
    assert easel.pod.puts == [row.id]


async def test_while_the_picture_store_is_away_a_drawn_picture_waits(
    easel: Scheduling, caplog: pytest.LogCaptureFixture
) -> None:
    live = await easel.accept()
    await runs(live)
    aside = easel.images.rename(easel.images.with_name("aside"))
    easel.images.write_text("no folder")
    easel.pod.finish()
    await holds(lambda: "picture_store_unavailable" in caplog.text, "the store to be missed")
    assert not easel.pod.deletes, "the pod has the only copy"
    easel.images.unlink()
    aside.rename(easel.images)
    row = await ended(live)
    assert row.status is State.succeeded
    assert await easel.store.image(row.id, 0) == PICTURE


async def test_what_fails_after_the_end_is_kept_does_not_stop_the_others(
    easel: Scheduling, caplog: pytest.LogCaptureFixture
) -> None:
    live = await easel.accept()
    await runs(live)
    await easel.store.delete([live.row])
    aside = easel.images.rename(easel.images.with_name("aside"))
    easel.images.write_text("no folder")
    easel.pod.error = errors.EngineError("It broke")
    easel.pod.finish()
    assert (await ended(live)).status is State.failed
    await holds(lambda: "left_to_the_sweep" in caplog.text, "the failure to be logged")
    easel.images.unlink()
    aside.rename(easel.images)
    easel.pod.error = None
    assert (await ended(await easel.accept())).status is State.succeeded


async def test_a_pod_that_failed_a_generation_for_good_is_told_to_forget_it(
    easel: Scheduling,
) -> None:
    easel.pod.error = errors.EngineLost("ComfyUI died")
    easel.pod.finish()
    row = await ended(await easel.accept())
    assert row.status is State.failed
    assert easel.pod.puts == [row.id] * MAX_FAILURES
    told = [row.id] * MAX_FAILURES
    await holds(lambda: easel.pod.deletes == told, "the pod to be told after each attempt")


async def test_what_the_pod_no_longer_had_when_it_was_cancelled_is_not_asked_for_again(
    easel: Scheduling,
) -> None:
    live = await easel.accept()
    await runs(live)
    easel.pod.forgetful = True
    await easel.dispatcher.cancel(live)
    await holds(lambda: easel.pod.deletes == [live.row.id], "the cancellation to be passed on")
    easel.pod.cut()
    assert (await ended(live)).status is State.cancelled
    assert easel.pod.puts == [live.row.id]
