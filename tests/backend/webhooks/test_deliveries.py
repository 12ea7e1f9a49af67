"""What is owed is delivered: over failures, restarts and beside receivers that hold others up."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from aiohttp import web

from backend import views
from backend.metrics import Metrics
from backend.schemas import GenerationRequest
from backend.storage.database import Database, deliveries, generations
from backend.storage.generations import GenerationRow, GenerationStore, Outcome
from backend.webhooks import events, signing
from backend.webhooks.addresses import Addresses
from backend.webhooks.deliveries import PAUSES_S, Deliveries
from backend.webhooks.sender import Sender
from gpu_server.schemas import State
from tests.backend.processes import until
from tests.backend.webhooks.receiver import SECRET, Receiver, receiving, with_status

HOSTS = Addresses([f"127.0.0.{number}" for number in range(1, 4)] + ["localhost"])
SHORT = tuple(0.01 for _ in PAUSES_S)


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[GenerationStore]:
    database = Database(f"sqlite:///{tmp_path / 'easel.sqlite3'}")
    await database.open()
    yield GenerationStore(database)
    await database.close()


async def ended(
    rows: GenerationStore, url: str | None, outcome: Outcome | None = None, user: str = ""
) -> GenerationRow:
    """Commit a generation, then its end."""
    webhook = {"webhook": {"url": url}} if url else {}
    values = {"mode": "tiny", "style": "plain", "prompt": "a lake", "seed": 7, "user": user}
    row = GenerationRow(
        id=uuid4(),
        owner="shop",
        fingerprint="f" * 64,
        request=GenerationRequest.model_validate({**values, **webhook}),
        model="tiny.safetensors",
        timeout_s=60.0,
        photos=(),
        created=1_700_000_000.125,
    )
    await rows.add(row)
    row = row.ended_with(outcome or Outcome(status=State.succeeded))
    await rows.end(row)
    return row


@asynccontextmanager
async def delivering(
    rows: GenerationStore,
    *,
    pauses_s: tuple[float, ...] = SHORT,
    operator_url: str = "",
    timeout_s: float = 15.0,
) -> AsyncIterator[Metrics]:
    metrics = Metrics("test")
    sender = Sender(addresses=HOSTS, timeout_s=timeout_s)
    running = Deliveries(
        rows=rows,
        sender=sender,
        keys=signing.keys_of(SECRET),
        body=lambda row: events.body(row, views.ended(row), lambda _, number: f"/{number}"),
        metrics=metrics,
        operator_url=operator_url,
        pauses_s=pauses_s,
    )
    task = asyncio.create_task(running.run())
    try:
        yield metrics
        assert not task.done()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await sender.close()


async def owed(rows: GenerationStore) -> int:
    query = sa.select(sa.func.count()).select_from(deliveries)
    return await rows.database.run(lambda c: c.scalar(query) or 0)


async def settled(rows: GenerationStore) -> None:
    async def none() -> bool:
        return await owed(rows) == 0

    await until(none, "nothing to be owed", pause=0.02)


def ids(receiver: Receiver) -> Counter[str]:
    return Counter(told.id for told in receiver.told)


async def test_each_attempt_has_the_same_id_and_body_and_a_signature_of_its_own_time(
    rows: GenerationStore,
) -> None:
    async def third_time(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500 if len(receiver.told) < 3 else 200)

    async with receiving(third_time) as receiver, delivering(rows) as metrics:
        await ended(rows, receiver.url())
        told = await receiver.until(3)
        await settled(rows)
    assert len(ids(receiver)) == 1
    assert "." not in told[0].id
    assert len({one.body for one in told}) == 1
    assert {one.verified()["type"] for one in told} == {"generation.succeeded"}
    counted = metrics.registry.get_sample_value
    name = "easel_webhook_deliveries_total"
    assert counted(name, {"outcome": "failed"}) == 2
    assert counted(name, {"outcome": "delivered"}) == 1
    assert counted("easel_webhooks_pending") == 0


async def test_it_is_tried_for_a_day_with_growing_pauses_and_then_given_up(
    rows: GenerationStore,
) -> None:
    assert 23 * 3600 < sum(PAUSES_S) <= 24 * 3600
    assert list(PAUSES_S) == sorted(PAUSES_S)
    async with receiving(with_status(500)) as receiver, delivering(rows):
        await ended(rows, receiver.url())
        await settled(rows)
    assert list(ids(receiver).values()) == [len(PAUSES_S) + 1]


async def test_a_retry_waits_for_its_pause_or_for_what_the_receiver_says(
    rows: GenerationStore,
) -> None:
    async def waits() -> list[float]:
        query = sa.select(deliveries.c.due, deliveries.c.host).order_by(deliveries.c.host)
        found = await rows.database.run(lambda c: c.execute(query).all())
        return [due - time.time() for due, _ in found]

    busy = with_status(503, **{"Retry-After": "600"})
    week = with_status(429, **{"Retry-After": "604800"})
    async with (
        receiving(busy) as first,
        receiving(week) as second,
        receiving(with_status(500)) as third,
    ):
        async with delivering(rows, pauses_s=PAUSES_S):
            await ended(rows, first.url(host="127.0.0.1"))
            await ended(rows, second.url(host="localhost"))
            await ended(rows, third.url(host="127.0.0.1"))

            async def tried() -> bool:
                query = sa.select(sa.func.sum(deliveries.c.tries))
                return bool(await rows.database.run(lambda c: c.scalar(query)) == 3)

            await until(tried, "one attempt each", pause=0.02)
        assert [len(one.told) for one in (first, second, third)] == [1, 1, 1]
    soon, ten_minutes, hours = sorted(await waits())
    assert 0 < soon < 6
    assert 590 < ten_minutes < 721
    assert 5.9 * 3600 < hours < 7.2 * 3600


async def test_410_ends_it_for_good(rows: GenerationStore) -> None:
    async with receiving(with_status(410)) as receiver, delivering(rows) as metrics:
        await ended(rows, receiver.url())
        await settled(rows)
    assert len(receiver.told) == 1
    name = "easel_webhook_deliveries_total"
    assert metrics.registry.get_sample_value(name, {"outcome": "gone"}) == 1


async def test_a_receiver_that_answers_nothing_holds_up_no_other(rows: GenerationStore) -> None:
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    async with receiving(silent) as slow, receiving() as quick:
        for _ in range(80):
            await ended(rows, slow.url(host="localhost"))
        last = await ended(rows, quick.url())
        async with delivering(rows):
            await quick.until_told_of(str(last.id))
            later = await ended(rows, quick.url())
            await quick.until_told_of(str(later.id))
            assert len(slow.told) <= 8


async def test_many_ends_are_each_told_once(rows: GenerationStore) -> None:
    async with receiving() as receiver, delivering(rows):
        many = [await ended(rows, receiver.url(f"/{number}")) for number in range(80)]
        await receiver.until_told_of(*(str(row.id) for row in many))
        await settled(rows)
    assert set(ids(receiver).values()) == {1}
    assert len(receiver.told) == 80


async def test_what_was_under_way_when_it_stopped_is_told_again_under_its_id(
    rows: GenerationStore,
) -> None:
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    async with receiving(silent) as receiver:
        await ended(rows, receiver.url())
        async with delivering(rows):
            await receiver.until(1)
        receiver.answer = with_status(200)
        async with delivering(rows):
            await receiver.until(2)
            await settled(rows)
    assert list(ids(receiver).values()) == [2]


async def test_nothing_is_told_of_a_generation_that_was_deleted(rows: GenerationStore) -> None:
    async with receiving() as receiver:
        gone = [await ended(rows, receiver.url(), user="anna") for _ in range(2)]
        kept = await ended(rows, receiver.url(), user="ben")
        await rows.delete(await rows.of_user("shop", "anna"))
        assert await owed(rows) == 1
        # An older release, to which this one may be rolled back, deletes the row alone.
        orphan = await ended(rows, receiver.url())
        only_row = generations.delete().where(generations.c.id == str(orphan.id))
        await rows.database.run(lambda c: c.execute(only_row))
        async with delivering(rows):
            await settled(rows)
    assert {told.generation for told in receiver.told} == {str(kept.id)}
    assert str(gone[0].id) not in {told.generation for told in receiver.told}


async def test_the_operators_webhook_is_where_the_setting_says_now(rows: GenerationStore) -> None:
    telling = GenerationStore(rows.database, tells_operator=True)
    async with receiving() as now:
        await ended(telling, None)
        async with delivering(telling, operator_url=now.url("/operator")):
            await now.until(1)
            await settled(rows)
        await ended(telling, None)
        async with delivering(telling):  # it is empty now
            await settled(rows)
    assert [told.path for told in now.told] == ["/operator"]


async def test_a_row_that_cannot_be_read_is_told_as_it_is_shown(rows: GenerationStore) -> None:
    damage = generations.update().values(order=[1])
    async with receiving() as receiver:
        row = await ended(rows, receiver.url())
        await rows.database.run(lambda c: c.execute(damage))
        async with delivering(rows):
            await receiver.until_told_of(str(row.id))
    event = receiver.told[0].verified()
    assert event["type"] == "generation.failed"
    assert event["data"]["error"]["code"] == "internal"


async def test_an_unfinished_row_that_cannot_be_read_is_told_as_failed(
    rows: GenerationStore,
) -> None:
    reopened = generations.update().values(order=[1], ended=None, status="queued")
    async with receiving() as receiver:
        row = await ended(rows, receiver.url())
        await rows.database.run(lambda c: (c.execute(deliveries.delete()), c.execute(reopened)))
        assert await rows.unfinished() == []
        async with delivering(rows):
            await receiver.until_told_of(str(row.id))
    assert receiver.told[0].verified()["type"] == "generation.failed"


async def test_a_time_from_a_clock_that_was_ahead_does_not_hold_it_up_for_days(
    rows: GenerationStore,
) -> None:
    async with receiving() as receiver:
        row = await ended(rows, receiver.url())
        late = deliveries.update().values(due=deliveries.c.due + 8 * 86_400)
        await rows.database.run(lambda c: c.execute(late))
        async with delivering(rows):
            await rows.redate(time.time())
            await receiver.until_told_of(str(row.id))
