"""A full disk, a store that cannot be written to, a clock that is wrong: what is said and kept."""

import time
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
import structlog

from backend.expiry import SteadyClock
from backend.storage.blobs import BlobsAway, BlobStore
from backend.storage.database import Database, DatabaseAway
from backend.storage.generations import GenerationStore, Outcome
from backend.storage.storage import Storage
from gpu_server.schemas import State
from tests.backend.storage.test_rows import new_row


async def test_a_full_disk_is_named_to_callers_and_the_operator_and_passes(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'easel.sqlite3'}")
    await database.open()
    rows, kept = GenerationStore(database), new_row()
    await rows.add(kept)
    await _limit_pages(database, 1)  # SQLite then answers as on a full disk
    with structlog.testing.capture_logs() as logs, pytest.raises(DatabaseAway, match="is full"):
        await _add(rows, 100)
    assert logs[-1]["fault"] == "disk full"
    assert "free some space" in logs[-1]["advice"]
    assert logs[-1]["file"] == str(tmp_path / "easel.sqlite3")
    assert await rows.get(kept.id) == kept
    await _limit_pages(database, 1_000_000)
    await rows.add(new_row())
    await database.close()


async def _add(rows: GenerationStore, number: int) -> None:
    for _ in range(number):
        await rows.add(new_row())


async def _limit_pages(database: Database, number: int) -> None:
    await database.run(partial(_execute, f"PRAGMA max_page_count = {number}"))


def _execute(text: str, connection: sa.Connection) -> None:
    connection.exec_driver_sql(text)


async def test_files_that_cannot_be_written_or_removed_keep_their_row_and_no_other(
    tmp_path: Path,
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'easel.sqlite3'}")
    storage = await Storage.open(database, (tmp_path / "images").as_uri())
    stuck, free = new_row(), new_row()
    for row in (stuck, free):
        await storage.rows.add(row)
        await storage.rows.end(row.ended_with(Outcome(status=State.succeeded)))
    text = str(stuck.id)
    (tmp_path / "images" / "images" / text[:2] / f"{text}-0").mkdir(parents=True)
    (tmp_path / "images" / "photos").write_text("in the way of the folder")
    with pytest.raises(BlobsAway) as raised:
        await storage.blobs.put_photo(free, "image", b"photo")
    assert str(tmp_path) not in raised.value.detail
    (tmp_path / "images" / "photos").unlink()
    with pytest.raises(BlobsAway):
        await storage.delete([stuck, free])
    assert await storage.rows.get(free.id) is None
    assert await storage.rows.get(stuck.id) is not None
    await database.close()


async def test_images_of_one_installation_are_listed_in_batches(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path.as_uri())
    ids = [uuid4() for _ in range(3)]
    for one in ids:
        await blobs.put_image(one, 0, b"image")
    found = [batch async for batch in blobs.old("images", time.time() + 60)]
    assert sorted(name for batch in found for name in batch.values()) == sorted(map(str, ids))
    assert not [name for batch in [b async for b in blobs.old("images", 0)] for name in batch]


async def test_rows_that_ended_in_the_future_age_from_now_on(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'easel.sqlite3'}")
    await database.open()
    rows = GenerationStore(database)
    for ended in (time.time() + 1e8, "next year"):
        row = new_row()
        await rows.add(row)
        text = f"UPDATE generations SET ended = {ended!r}, status = 'failed' WHERE id = '{row.id}'"
        await database.run(partial(_execute, text))
    assert await rows.ended_before(time.time() + 60) == []
    await rows.redate(time.time())
    assert len(await rows.ended_before(time.time() + 60)) == 2
    await database.close()


def test_a_clock_that_is_ahead_is_not_believed_at_once() -> None:
    week_s = 7 * 86_400.0
    assert SteadyClock(time.time() - week_s).now() < time.time() - week_s + 60
    assert abs(SteadyClock(time.time() - 60).now() - time.time()) < 60
    assert SteadyClock(time.time() + week_s).now() < time.time() + 60, "set back is believed"
