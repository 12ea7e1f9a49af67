"""The rows of deliveries, also those that an older version has written."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from telegram_bot.generating.request import draw_request
from telegram_bot.storage.database import Database
from telegram_bot.storage.deliveries import Deliveries, Delivery, State

OLD_ROW = """
INSERT INTO deliveries (generation, user_id, chat_id, message_id, reply_to, holds_media, origin,
    request, photo, state, created_at)
VALUES ('0b3c0d9e-0000-5000-8000-000000000001', 7, 7, NULL, 3, 0, '3', ?, 'file:abc', ?, 1.5)
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "bot.sqlite3")
    yield database
    database.close()


def test_a_row_comes_back_as_it_was_added(database: Database) -> None:
    deliveries = Deliveries(database)
    request = draw_request("free", "lux", "яблоко", {"width": 256, "seed": 4})
    delivery = Delivery(uuid4(), 1, -2, "5", request, photo="file:a", message_id=6)
    assert deliveries.add(delivery)
    assert not deliveries.add(delivery)
    assert deliveries.get(delivery.generation) == delivery


def test_a_row_of_an_older_version_is_sent_to_the_backend_unchanged(database: Database) -> None:
    text = '{"width": 256, "prompt": "лиса", "mode": "free", "style": "lux", "user": "tg7"}'
    database.run(OLD_ROW, text, "accepted")
    [row] = Deliveries(database).pending()
    assert row.generation == UUID("0b3c0d9e-0000-5000-8000-000000000001")
    assert (row.state, row.photo, row.reply_to) == (State.accepted, "file:abc", 3)
    assert row.request.model_dump(exclude_unset=True) == {
        "width": 256,
        "prompt": "лиса",
        "mode": "free",
        "style": "lux",
        "user": "tg7",
    }


def test_a_delivered_row_keeps_no_prompt(database: Database) -> None:
    deliveries = Deliveries(database)
    delivery = Delivery(uuid4(), 1, 1, "5", draw_request("free", "lux", "a secret"))
    deliveries.add(delivery)
    deliveries.set_delivered(delivery.generation, "file-id")
    assert database.row("SELECT request FROM deliveries")["request"] == "{}"  # type: ignore[index]
    row = deliveries.get(delivery.generation)
    assert row is not None
    assert row.request.values == {}
    assert (row.state, row.file_id) == (State.delivered, "file-id")
