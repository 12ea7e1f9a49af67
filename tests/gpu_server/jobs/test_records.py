"""Jobs on disk as the first release wrote them."""

import hashlib
import json
import re
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import workflows
from gpu_server.schemas import State
from tests.gpu_server.engines import Comfy
from tests.gpu_server.servers import SMALL, serving

FREE = Path(workflows.__file__).parent / "free"
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, request TEXT NOT NULL, fingerprint TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, ended REAL, outcome TEXT,
    clean INTEGER NOT NULL DEFAULT 0, forgotten INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""
BODY = {**SMALL, "style": "anime", "timeout_s": 30}
"""Sent by a caller; the fingerprint is of this, without the timeout."""


def insert(folder: Path, job: UUID, outcome: Mapping[str, Any] | None, mode: str = "free") -> None:
    """Write a job as the first release did."""
    (folder / "jobs" / str(job)).mkdir(parents=True)
    hashed = {name: value for name, value in BODY.items() if name != "timeout_s"}
    fingerprint = hashlib.sha256(json.dumps(hashed, sort_keys=True, default=str).encode())
    values = {name: BODY[name] for name in ("prompt", "width", "height")}
    request = {
        "mode": mode,
        "style": "anime",
        "values": {**values, "negative_prompt": "", "seed": 7, "count": 1},
        "size": [256, 256],
        "format": "jpeg",
        "timeout_s": 30.0,
        "kept": True,
    }
    ended = None if outcome is None else 4e9
    row = (str(job), json.dumps(request), fingerprint.hexdigest(), 1.7e9, ended)
    with closing(sqlite3.connect(folder / "jobs.sqlite3")) as database:
        database.executescript(SCHEMA)
        database.execute(
            "INSERT INTO jobs (id, request, fingerprint, created, ended, outcome, clean)"
            " VALUES (?, ?, ?, ?, ?, ?, 1)",
            (*row, None if outcome is None else json.dumps(outcome)),
        )
        database.commit()


async def test_an_unfinished_job_of_the_first_release_is_drawn_and_known_under_its_id(
    comfy: Comfy, tmp_path: Path
) -> None:
    job = uuid4()
    insert(tmp_path / "gpu_server", job, None)
    async with serving(comfy.url, tmp_path) as pod:
        ended = await pod.ended(job)
        assert (ended.status, ended.style, ended.seed) == (State.succeeded, "anime", 7)
        again = await pod.http.put(f"/jobs/{job}", json=BODY)
        assert again.status_code == 202, again.text
        assert State(again.json()["status"]) is State.succeeded


async def test_a_finished_job_of_the_first_release_keeps_its_images_and_timings(
    comfy: Comfy, tmp_path: Path
) -> None:
    job = uuid4()
    image = {"seed": 7, "width": 256, "height": 256, "media_type": "image/jpeg", "bytes": 4}
    outcome = {
        "id": str(job),
        "status": "succeeded",
        "mode": "free",
        "style": "anime",
        "seed": 7,
        "engine": "sketch 1",
        "position": None,
        "progress": 0.9,
        "stage": "encoding",
        "created_at": "2023-11-14T22:13:20Z",
        "timings": {"queued_ms": 1, "model_ms": 2, "gpu_ms": 3, "encode_ms": 4, "total_ms": 5},
        "images": [image],
        "error": None,
    }
    insert(tmp_path / "gpu_server", job, outcome)
    (tmp_path / "gpu_server" / "jobs" / str(job) / "0.image").write_bytes(b"jpeg")
    async with serving(comfy.url, tmp_path) as pod:
        found = await pod.client.job(job)
        assert (found.status, found.stage, found.progress) == (State.succeeded, "done", 1)
        assert found.engine == "sketch 1"
        assert found.timings.total_ms == 5
        assert await pod.client.image(job, 0) == b"jpeg"


@pytest.mark.parametrize(
    "change",
    [
        "id = 'no uuid'",
        "request = '{'",
        "request = '[]'",
        "request = '{}'",
        'outcome = \'{"status": "odd"}\'',
        "created = 'yesterday'",
    ],
)
async def test_a_row_that_cannot_be_read_stops_neither_the_start_nor_the_others(
    comfy: Comfy, tmp_path: Path, change: str
) -> None:
    folder, good = tmp_path / "gpu_server", uuid4()
    insert(folder, good, None)
    with closing(sqlite3.connect(folder / "jobs.sqlite3")) as database:
        columns = "id, request, fingerprint, attempt, created, ended, outcome, clean, forgotten"
        copy = columns.replace("id,", f"'{uuid4()}',", 1)
        database.execute(f"INSERT INTO jobs SELECT {copy} FROM jobs")
        database.execute(f"UPDATE jobs SET {change} WHERE id != ?", (str(good),))
        database.commit()
    async with serving(comfy.url, tmp_path) as pod:
        assert (await pod.ended(good)).status is State.succeeded


@pytest.mark.parametrize("damage", [b"no database at all", None])
async def test_a_damaged_file_of_jobs_is_set_aside_and_the_start_goes_on(
    comfy: Comfy, tmp_path: Path, damage: bytes | None
) -> None:
    folder = tmp_path / "gpu_server"
    insert(folder, uuid4(), None)
    path = folder / "jobs.sqlite3"
    path.write_bytes(damage * 99 if damage else path.read_bytes()[:5000])
    async with serving(comfy.url, tmp_path) as pod:
        assert (folder / "jobs.sqlite3.damaged").exists()
        assert (await pod.ended((await pod.put()).id)).status is State.succeeded


async def test_files_of_a_job_without_a_row_are_removed_at_the_start(
    comfy: Comfy, tmp_path: Path
) -> None:
    stray = tmp_path / "gpu_server" / "jobs" / str(uuid4())
    stray.mkdir(parents=True)
    (stray / "photo").write_bytes(b"a person")
    async with serving(comfy.url, tmp_path) as pod:
        assert pod.kept_files() == []


async def test_a_job_taken_up_after_a_restart_leaves_no_picture_in_the_engine(
    comfy: Comfy, tmp_path: Path
) -> None:
    job = uuid4()
    insert(tmp_path / "gpu_server", job, None)
    async with serving(comfy.url, tmp_path) as pod:
        assert (await pod.ended(job)).status is State.succeeded
        assert not [path for path in (comfy.folder / "temp").rglob("*") if path.is_file()]


async def test_a_job_whose_mode_went_or_changed_during_a_restart_ends_and_says_so(
    comfy: Comfy, tmp_path: Path
) -> None:
    modes, gone, changed = tmp_path / "modes", uuid4(), uuid4()
    shutil.copytree(FREE, modes / "banner")
    toml = modes / "banner" / "mode.toml"
    toml.write_text(re.sub("max_length = .*", "max_length = 3", toml.read_text("utf-8")), "utf-8")
    insert(tmp_path / "gpu_server", gone, None, mode="posters")
    insert(tmp_path / "gpu_server", changed, None, mode="banner")
    async with serving(comfy.url, tmp_path, easel_workflows_dir=modes) as pod:
        for job, detail in (
            (gone, "'posters' is out of service now"),
            (changed, "'banner' was changed after this was accepted: prompt: has 5 characters"),
        ):
            ended = await pod.ended(job)
            assert ended.status is State.failed
            assert ended.error is not None
            assert ended.error.code == "invalid_request"
            assert detail in ended.error.detail
