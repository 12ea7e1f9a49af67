"""Generations when pods, the object store or the database fail them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from backend.dispatch.active import ActiveGeneration
from backend.dispatch.dispatcher import MAX_FAILURES, Dispatcher
from backend.dispatch.pods import LOST_AFTER_S
from backend.limits.refusals import Refusals
from backend.metrics import Metrics
from backend.scheduling.scheduler import Limits
from backend.schemas import GenerationRequest
from backend.storage.database import Database
from backend.storage.generations import GenerationRow, Outcome
from backend.storage.storage import Storage
from gpu_server.client import GpuClient
from gpu_server.schemas import State
from tests.backend.dispatch.scripted_pod import IMAGE, PICTURE, ScriptedPod, scripted_pod
from tests.backend.processes import PATIENCE_S, until
from web import errors


@dataclass
class Scheduling:
    """A dispatcher at work with one pod, and what it keeps."""

    dispatcher: Dispatcher
    database: Database
    storage: Storage
    images: Path
    pod: ScriptedPod
    url: str

    async def accept(self) -> ActiveGeneration:
        row = new_row()
        await self.storage.rows.add(row)
        return self.dispatcher.take(row)

    async def lose_the_pod(self) -> None:
        """Take the pod out of service, for longer than it may keep its jobs."""
        seen = self.dispatcher.pods[self.url]
        self.pod.in_service = False
        seen.suspect()
        await holds(lambda: not seen.in_service, "the pod to go out of service")
        seen._last_well -= 2 * LOST_AFTER_S


def new_row() -> GenerationRow:
    request = GenerationRequest.model_validate(
        {"mode": "tiny", "style": "plain", "user": "anna", "seed": 1, "prompt": "a lake"}
    )
    return GenerationRow(
        id=uuid4(),
        owner="shop",
        fingerprint="mark",
        request=request,
        model="tiny.safetensors",
        timeout_s=60.0,
        photos=(),
        created=time.time(),
    )


async def holds(condition: Callable[[], bool], what: str) -> None:
    async def look() -> bool:
        return condition()

    await until(look, what, pause=0.02)


async def runs(active: ActiveGeneration) -> None:
    await holds(lambda: active.status is State.running, "the generation to run")


async def ended(active: ActiveGeneration) -> GenerationRow:
    async with asyncio.timeout(PATIENCE_S):
        assert await active.wait()
    return active.row


@contextlib.asynccontextmanager
async def scheduling(folder: Path) -> AsyncIterator[Scheduling]:
    database = Database(f"sqlite:///{folder / 'easel.sqlite3'}")
    images = folder / "images"
    storage = await Storage.open(database, images.as_uri())
    async with scripted_pod() as (pod, url):
        client = GpuClient.at(url)
        dispatcher = Dispatcher(
            storage=storage,
            refusals=Refusals(database),
            metrics=Metrics("test"),
            limits=Limits(100, 100),
            clients={url: client},
            no_gpu_timeout_s=1800,
        )
        ready = asyncio.Event()
        running = asyncio.create_task(dispatcher.run(ready))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await ready.wait()
            yield Scheduling(dispatcher, database, storage, images, pod, url)
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
    active = await easel.accept()
    for times in range(1, MAX_FAILURES + 1):
        await runs(active)
        assert len(easel.pod.puts) == times
        await easel.lose_the_pod()
        await holds(lambda: active.status is not State.running, "the generation to be moved")
        easel.pod.in_service = True
        easel.dispatcher.pods[easel.url].suspect()
    row = await ended(active)
    assert row.status is State.failed
    assert row.outcome is not None
    assert row.outcome.error is not None
    assert row.outcome.error.code == "engine_lost"
    kept = await easel.storage.rows.get(row.id)
    assert kept is not None
    assert kept.outcome == row.outcome
    await holds(lambda: row.id in easel.pod.deletes, "the pod to be told to stop it")
    assert len(easel.pod.puts) == MAX_FAILURES


async def test_what_ended_elsewhere_keeps_its_result(easel: Scheduling) -> None:
    active = await easel.accept()
    await runs(active)
    outcome = Outcome(status=State.succeeded, engine="another", images=(IMAGE,))
    other = active.row.ended_with(outcome)
    await easel.storage.blobs.put_image(other.id, 0, PICTURE)
    assert await easel.storage.rows.end(other) == other
    easel.pod.error = errors.EngineError("It broke")
    easel.pod.finish()
    row = await ended(active)
    assert (row.status, row.outcome) == (State.succeeded, outcome)
    await holds(lambda: row.id in easel.pod.deletes, "the pod to be told to forget it")
    found = await easel.storage.rows.get(row.id)
    assert found is not None
    assert (found.status, found.outcome) == (State.succeeded, outcome)
    assert await easel.storage.blobs.image(row.id, 0) == PICTURE


async def test_what_was_deleted_meanwhile_leaves_no_picture(easel: Scheduling) -> None:
    active = await easel.accept()
    await runs(active)
    await easel.storage.delete([active.row])
    easel.pod.finish()
    row = await ended(active)
    await holds(lambda: row.id in easel.pod.deletes, "the pod to be told to forget it")
    assert await easel.storage.blobs.image(row.id, 0) is None


async def test_what_was_committed_and_never_taken_is_drawn(easel: Scheduling) -> None:
    easel.pod.finish()
    row = new_row()
    await easel.storage.rows.add(row)

    async def drawn() -> bool:
        found = await easel.storage.rows.get(row.id)
        return found is not None and found.status is State.succeeded

    await until(drawn, "it to be found and drawn")
    assert easel.pod.puts == [row.id]


async def test_while_the_picture_store_is_away_a_drawn_picture_waits(
    easel: Scheduling, caplog: pytest.LogCaptureFixture
) -> None:
    active = await easel.accept()
    await runs(active)
    aside = easel.images.rename(easel.images.with_name("aside"))
    easel.images.write_text("no folder")
    easel.pod.finish()
    await holds(lambda: "object_store_unavailable" in caplog.text, "the store to be missed")
    assert not easel.pod.deletes, "the pod has the only copy"
    easel.images.unlink()
    aside.rename(easel.images)
    row = await ended(active)
    assert row.status is State.succeeded
    assert await easel.storage.blobs.image(row.id, 0) == PICTURE


async def test_what_fails_after_the_end_is_kept_does_not_stop_the_others(
    easel: Scheduling, caplog: pytest.LogCaptureFixture
) -> None:
    active = await easel.accept()
    await runs(active)
    await easel.storage.delete([active.row])
    aside = easel.images.rename(easel.images.with_name("aside"))
    easel.images.write_text("no folder")
    easel.pod.error = errors.EngineError("It broke")
    easel.pod.finish()
    assert (await ended(active)).status is State.failed
    await holds(lambda: "cleanup_deferred" in caplog.text, "the failure to be logged")
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
    active = await easel.accept()
    await runs(active)
    easel.pod.forgetful = True
    await easel.dispatcher.cancel(active)
    await holds(lambda: easel.pod.deletes == [active.row.id], "the cancellation to be passed on")
    easel.pod.cut()
    assert (await ended(active)).status is State.cancelled
    assert easel.pod.puts == [active.row.id]
