"""The rows of generations: the first release and this one read what the other wrote."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from backend.schemas import GenerationRequest
from backend.storage.database import Database, generations
from backend.storage.generations import GenerationRow, GenerationStore, Outcome
from gpu_server.schemas import ImageInfo, State
from web.errors import ContentRefused

ORDER = {
    "mode": "free",
    "style": "anime",
    "values": {"prompt": "a lake", "seed": 7, "count": 2, "strength": 0.5},
    "format": "webp",
    "priority": 3,
    "model": "anime.safetensors",
    "timeout_s": 60.0,
    "has_photo": True,
}
"""The column `order` as the first release writes it."""
OUTCOME = {
    "engine": "comfyui 0.3",
    "timings": {"queued_ms": 1, "model_ms": 2, "gpu_ms": 3, "encode_ms": 4, "total_ms": 10},
    "images": [{"seed": 7, "width": 64, "height": 64, "media_type": "image/webp", "bytes": 9}],
    "error": None,
    "progress": 1.0,
}


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'easel.sqlite3'}")
    await database.open()
    yield database
    await database.close()


def new_row() -> GenerationRow:
    values: dict[str, Any] = dict(ORDER["values"])  # type: ignore[call-overload]
    own = {name: ORDER[name] for name in ("mode", "style", "format", "priority")}
    return GenerationRow(
        id=uuid4(),
        owner="shop",
        fingerprint="f" * 64,
        request=GenerationRequest.model_validate({"user": "anna", **own, **values}),
        model="anime.safetensors",
        timeout_s=60.0,
        photos=("image",),
        created=time.time(),
    )


async def stored(database: Database, row: GenerationRow) -> sa.RowMapping:
    query = generations.select().where(generations.c.id == str(row.id))
    return await database.run(lambda c: c.execute(query).mappings().one())


async def test_a_row_is_written_as_the_first_release_writes_it(database: Database) -> None:
    rows, row = GenerationStore(database), new_row()
    await rows.add(row)
    accepted = await stored(database, row)
    assert accepted["order"] == ORDER
    assert (accepted["user"], accepted["count"], accepted["outcome"]) == ("anna", 2, None)
    images = (ImageInfo.model_validate(OUTCOME["images"][0]),)  # type: ignore[index]
    outcome = Outcome.model_validate({**OUTCOME, "status": "succeeded", "images": images})
    await rows.end(row.ended_with(outcome))
    ended = await stored(database, row)
    assert (ended["status"], ended["outcome"]) == ("succeeded", OUTCOME)


async def test_a_row_of_the_first_release_is_read_back_whole(database: Database) -> None:
    rows, row = GenerationStore(database), new_row()
    columns = {
        "id": str(row.id),
        "owner": row.owner,
        "user": "anna",
        "fingerprint": row.fingerprint,
        "order": ORDER,
        "count": 2,
        "status": "succeeded",
        "created": row.created,
        "ended": row.created + 1,
        "outcome": OUTCOME,
    }
    await database.run(lambda c: c.execute(generations.insert().values(columns)))
    found = await rows.get(row.id)
    assert found is not None
    assert (found.request, found.model, found.timeout_s) == (row.request, row.model, 60.0)
    assert (found.photos, found.status) == (("image",), State.succeeded)
    assert found.outcome is not None
    assert found.outcome.images[0].bytes == 9


async def test_the_error_of_a_failure_survives_with_its_category(database: Database) -> None:
    rows, row = GenerationStore(database), new_row()
    await rows.add(row)
    await rows.end(row.ended_with(Outcome.failed(ContentRefused("no", category="nudity"))))
    found = await rows.get(row.id)
    assert found is not None
    assert found.outcome is not None
    failure = found.outcome.failure
    assert isinstance(failure, ContentRefused)
    assert (failure.detail, failure.category) == ("no", "nudity")


async def test_a_page_goes_on_after_the_last_row_of_the_page_before(database: Database) -> None:
    rows = GenerationStore(database)
    made = [new_row() for _ in range(5)]
    for row in made:
        await rows.add(row)
    first = await rows.page("shop", "anna", 3, None)
    last = first[-1]
    second = await rows.page("shop", None, 3, (last.created, str(last.id)))
    assert [row.id for row in first + second] == [row.id for row in reversed(made)]
