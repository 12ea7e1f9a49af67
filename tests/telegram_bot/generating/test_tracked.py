"""For how long a request is kept while the backend is away."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from telegram.ext import ExtBot

from backend.client import BackendClient
from telegram_bot.generating.gateway import Traffic
from telegram_bot.generating.tracked import PATIENCE_S, Course
from telegram_bot.messages.editor import Editor
from telegram_bot.messages.live_message import LiveMessage, Spot
from telegram_bot.messages.rate_limiter import RateLimiter, Urgency
from telegram_bot.storage.database import Database
from telegram_bot.storage.deliveries import Delivery, State
from telegram_bot.storage.people import People
from telegram_bot.texts import Texts
from tests.telegram_bot.stack import Stack

HOURS = 3600.0
LIMITER = RateLimiter()
BOT: ExtBot[Urgency] = ExtBot("1:never-used", rate_limiter=LIMITER)


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    database = Database(tmp_path / "bot.sqlite3")
    yield People(database)
    database.close()


def course(people: People, state: State, age_s: float) -> Course:
    request = {"mode": "free", "prompt": "an old tree", "width": 256, "height": 256}
    delivery = Delivery(uuid4(), 1, 1, "1", request, state=state, created_at=time.time() - age_s)
    editor = Editor(BOT, LIMITER)
    live = LiveMessage(editor, Spot(1, 1, 1), lambda _: None, (), lambda _: False)
    return Course(delivery, live, people, Texts(), resumed=True)


def test_what_the_backend_never_had_is_kept_from_when_it_was_asked_for(people: People) -> None:
    assert 600 <= course(people, State.waiting, 600).away_s() < 700
    # Over its time already, it still gets a minute: the bot itself was away.
    assert course(people, State.waiting, 5 * HOURS).away_s() < PATIENCE_S - 50


def test_what_waits_in_the_backends_line_for_hours_is_not_given_up_after_a_restart(
    people: People,
) -> None:
    assert course(people, State.accepted, 5 * HOURS).away_s() < 60


async def test_a_quiet_stream_of_events_is_a_sign_of_life(people: People, stack: Stack) -> None:
    waits = course(people, State.accepted, 5 * HOURS)
    backend = BackendClient.at(stack.url["backend"])
    stack.slow_engine(0.5)
    try:
        traffic = Traffic(BOT, backend, backend)
        await traffic.put(waits)
        async with traffic.follow(waits):
            waits.seen_at -= 5 * HOURS  # nothing has moved for so long
        assert waits.away_s() < 60
    finally:
        stack.slow_engine(0)
        await backend.delete(waits.id)
        await backend.close()
