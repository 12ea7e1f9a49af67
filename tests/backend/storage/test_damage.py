"""Damaged rows, files and clocks: each costs itself, and nothing else."""

import os
import signal
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.backend.processes import Backend, Farm, started, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = {"mode": "tiny", "prompt": "a lake", "user": "anna"}
OLD_S = 9 * 86_400


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory, farm: Farm
) -> AsyncIterator[tuple[Backend, httpx.AsyncClient]]:
    backend = Backend(tmp_path_factory.mktemp("damage"), farm.urls)
    async with started(backend), httpx.AsyncClient(base_url=backend.url, timeout=60) as http:
        await backend.up(http)
        yield backend, http


def database(backend: Backend) -> sqlite3.Connection:
    path = Path(backend.environment["EASEL_DATA_DIR"]) / "backend" / "easel.sqlite3"
    return sqlite3.connect(path, isolation_level=None, timeout=20)


def images(backend: Backend) -> Path:
    return Path(backend.environment["EASEL_DATA_DIR"]) / "backend" / "images"


async def drawn(http: httpx.AsyncClient, **more: Any) -> str:
    answer = await http.post("/generate", json={**BODY, **more})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def restarted(backend: Backend, http: httpx.AsyncClient) -> None:
    backend.send(signal.SIGTERM)
    backend.wait(20)
    backend.start()
    await backend.up(http)


DAMAGE = [
    ("order", "{"),
    ("order", "[]"),
    ("order", '{"mode": "tiny"}'),
    ("order", b"\xff\xfe"),
    ("outcome", "{broken"),
    ("outcome", '{"images": 7}'),
    ("status", "paused"),
    ("created", "yesterday"),
    ("id", "no uuid"),
]


async def test_a_damaged_row_is_listed_as_failed_and_stops_nothing(
    served: tuple[Backend, httpx.AsyncClient],
) -> None:
    backend, http = served
    for is_unfinished in (False, True):
        good = await drawn(http, user="eve")
        for column, value in DAMAGE:
            broken = await drawn(http, user="eve")
            open_again = ", ended = NULL, status = 'queued'" if is_unfinished else ""
            with database(backend) as db:
                db.execute(f"UPDATE generations SET id = id{open_again} WHERE id = ?", (broken,))
                db.execute(
                    f'UPDATE generations SET "{column}" = ? WHERE id = ?',
                    (f"no uuid {broken}" if column == "id" else value, broken),
                )
        await restarted(backend, http)
        page = (await http.get("/generations", params={"user": "eve", "limit": 100})).json()
        states = [one["status"] for one in page["generations"]]
        failed = [one for one in page["generations"] if one["status"] == "failed"]
        assert len(states) == len(DAMAGE) + 1
        assert len(failed) >= len(DAMAGE) - 2  # unfinished, a damaged outcome is drawn anew
        assert all(one["error"]["code"] == "internal" for one in failed)
        for one in failed:
            answer = await http.get(f"/generations/{one['id']}/images/0")
            assert answer.status_code == 404
        one = next(
            one for one in failed if (await http.get(f"/generations/{one['id']}")).is_success
        )
        assert (await http.delete(f"/generations/{one['id']}")).json()["outcome"] == "deleted"
        assert (await http.get(f"/generations/{good}/images/0")).status_code == 200
        metrics = (await http.get("/metrics")).text
        assert "easel_rows_unreadable 0.0" not in metrics
        assert (await http.delete("/users/eve")).json()["generations"] == len(DAMAGE)
        with database(backend) as db:
            assert not db.execute("SELECT id FROM generations").fetchall()
    assert "Traceback" not in backend.output()


async def test_the_sweep_removes_damaged_rows_and_files_that_no_row_knows(
    served: tuple[Backend, httpx.AsyncClient],
) -> None:
    backend, http = served
    kept = await drawn(http)
    with database(backend) as db:
        for column, value in DAMAGE[:5]:
            broken = await drawn(http)
            db.execute(
                f'UPDATE generations SET "{column}" = ?, ended = ? WHERE id = ?',
                (value, time.time() - OLD_S, broken),
            )
    stray = uuid.uuid4()
    planted = [
        images(backend) / "photos" / f"{stray}-0123#1",
        images(backend) / "images" / "ab" / f"{stray}-0#12",
        images(backend) / "images" / "ab" / f"{stray}-0",
    ]
    fresh = images(backend) / "images" / "ab" / f"{uuid.uuid4()}-0#1"
    for path in (*planted, fresh):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left by a kill")
    for path in planted:
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    await restarted(backend, http)

    async def gone() -> bool:
        with database(backend) as db:
            rows = db.execute("SELECT id FROM generations").fetchall()
        return rows == [(kept,)] and not any(path.exists() for path in planted)

    await until(gone, "the sweep")
    assert fresh.exists()
    assert (await http.get(f"/generations/{kept}/images/0")).status_code == 200


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-9], lambda d: d[:-1] + b"x"]
)
async def test_a_damaged_image_is_not_given_out(
    served: tuple[Backend, httpx.AsyncClient], damage: Any
) -> None:
    backend, http = served
    one = await drawn(http)
    (path,) = images(backend).glob(f"images/*/{one}-0")
    path.write_bytes(damage(path.read_bytes()))
    await restarted(backend, http)
    for query in ("", "?format=jpeg"):
        answer = await http.get(f"/generations/{one}/images/0{query}")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "damaged" in answer.json()["detail"]


async def test_rows_dated_ahead_keep_nobody_waiting(farm: Farm, tmp_path: Path) -> None:
    backend = Backend(tmp_path, farm.urls, backend_rate_per_minute=2, backend_daily_images=2)
    async with started(backend), httpx.AsyncClient(base_url=backend.url, timeout=60) as http:
        await backend.up(http)
        for _ in range(2):
            await drawn(http)
        assert (await http.post("/generate", json=BODY)).status_code == 429
        with database(backend) as db:
            db.execute("UPDATE spending SET created = created + 8 * 86400")
            for _ in range(20):
                db.execute(
                    "INSERT INTO refusals (owner, user, category, at) VALUES (?, ?, ?, ?)",
                    ("local", "anna", "sexual", time.time() + 8 * 86_400),
                )
        await restarted(backend, http)
        await drawn(http)


@pytest.mark.parametrize("damage", [b"", b"garbage", b"\0"])
async def test_a_damaged_database_is_one_sentence(
    farm: Farm, tmp_path: Path, damage: bytes
) -> None:
    backend = Backend(tmp_path, farm.urls)
    path = tmp_path / "backend" / "easel.sqlite3"
    async with started(backend), httpx.AsyncClient(base_url=backend.url, timeout=60) as http:
        await backend.up(http)
        await drawn(http)
        backend.send(signal.SIGTERM)
        backend.wait(20)
        data = path.read_bytes()
        path.write_bytes(damage * 8192 if damage == b"garbage" else data[:8192] + damage * 40_000)
        backend.log.unlink()
        backend.start()
        assert backend.wait(30) == 2
    lines = backend.output().splitlines()
    assert len(lines) == 1, backend.output()
    assert lines[0].startswith(f"error: the database {path} cannot be used: it is damaged")
    assert "restore" in lines[0]


async def test_a_database_damaged_or_full_while_running_costs_answers_not_the_service(
    served: tuple[Backend, httpx.AsyncClient],
) -> None:
    backend, http = served
    one = await drawn(http)
    path = Path(backend.environment["EASEL_DATA_DIR"]) / "backend" / "easel.sqlite3"
    with database(backend) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    path.write_bytes(b"\xff" * len(data))
    for path_ in ("/generations", f"/generations/{one}"):
        answer = await http.get(path_)
        if answer.status_code != 200:  # read from the cache
            assert answer.status_code == 503
            assert "database" in answer.json()["detail"]
    answer = await http.put(f"/generations/{uuid.uuid4()}", json=BODY)
    assert answer.status_code == 503, answer.text
    assert "damaged" in answer.json()["detail"]
    assert str(path.parent) not in answer.text
    assert (await http.get("/livez")).status_code == 200
    assert "Traceback" not in backend.output()
    assert str(path) in backend.output()
