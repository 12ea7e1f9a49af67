"""For how long a request is kept while the backend is away."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from telegram.ext import ExtBot

from backend.client import BackendClient
from telegram_bot.generating.gateway import Gateway
from telegram_bot.generating.request import draw_request
from telegram_bot.generating.tracked import BACKEND_TIMEOUT_S, TrackedGeneration
from telegram_bot.messages.editor import Editor
from telegram_bot.messages.live_message import LiveMessage
from telegram_bot.messages.rate_limiter import RateLimiter, Urgency
from telegram_bot.storage.database import Database
from telegram_bot.storage.deliveries import Deliveries, Delivery, State
from telegram_bot.storage.people import People
from telegram_bot.texts import Languages
from tests.telegram_bot.stack import Stack

HOURS = 3600.0
LIMITER = RateLimiter()
BOT: ExtBot[Urgency] = ExtBot("1:never-used", rate_limiter=LIMITER)


class Clock:
    """Monotonic time that a test can advance."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "bot.sqlite3")
    yield database
    database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def tracked(database: Database, clock: Clock, state: State, age_s: float) -> TrackedGeneration:
    request = draw_request("free", "anime", "an old tree", {"width": 256, "height": 256})
    created_at = time.time() - age_s
    delivery = Delivery(uuid4(), 1, 1, "1", request, state=state, created_at=created_at)
    deliveries = Deliveries(database)
    deliveries.add(delivery)
    editor = Editor(BOT, LIMITER)
    message = LiveMessage(delivery, editor=editor, deliveries=deliveries, first_keyboard=())
    return TrackedGeneration(
        delivery,
        message,
        deliveries=deliveries,
        people=People(database),
        languages=Languages(),
        resumed=True,
        clock=clock,
    )


def test_a_request_the_backend_never_had_is_kept_from_when_it_was_made(
    database: Database, clock: Clock
) -> None:
    assert 600 <= tracked(database, clock, State.waiting, 600).away_s() < 700
    # Past its timeout already, it still gets a minute: the bot itself was away.
    assert tracked(database, clock, State.waiting, 5 * HOURS).away_s() < BACKEND_TIMEOUT_S - 50


def test_hours_in_the_backends_queue_do_not_count_as_an_outage_after_a_restart(
    database: Database, clock: Clock
) -> None:
    assert tracked(database, clock, State.accepted, 5 * HOURS).away_s() < 60


async def test_a_quiet_stream_of_events_is_a_sign_of_life(
    database: Database, clock: Clock, stack: Stack
) -> None:
    waiting = tracked(database, clock, State.accepted, 5 * HOURS)
    backend = BackendClient.at(stack.url["backend"])
    stack.slow_engine(0.5)
    try:
        gateway = Gateway(BOT, backend, backend)
        await gateway.put(waiting)
        async with gateway.follow(waiting):
            clock.now += 5 * HOURS
        assert waiting.away_s() < 60
    finally:
        stack.slow_engine(0)
        await backend.delete(waiting.id)
        await backend.close()


def test_only_the_first_cancel_counts_and_it_outlives_the_process(
    database: Database, clock: Clock
) -> None:
    one = tracked(database, clock, State.accepted, 0)
    assert [one.cancel(), one.cancel()] == [True, False]
    [row] = Deliveries(database).pending()
    assert row.state is State.cancelling
