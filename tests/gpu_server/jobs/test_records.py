"""Jobs on disk as the first release wrote them."""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from gpu_server.schemas import State
from tests.gpu_server.engines import Comfy
from tests.gpu_server.servers import SMALL, serving

SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, request TEXT NOT NULL, fingerprint TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, ended REAL, outcome TEXT,
    clean INTEGER NOT NULL DEFAULT 0, forgotten INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""
BODY = {**SMALL, "style": "anime", "timeout_s": 30}
"""Sent by a caller; the fingerprint is of this, without the timeout."""


def insert(folder: Path, job: UUID, outcome: Mapping[str, Any] | None) -> None:
    """Write a job as the first release did."""
    (folder / "jobs" / str(job)).mkdir(parents=True)
    hashed = {name: value for name, value in BODY.items() if name != "timeout_s"}
    fingerprint = hashlib.sha256(json.dumps(hashed, sort_keys=True, default=str).encode())
    values = {name: BODY[name] for name in ("prompt", "width", "height")}
    request = {
        "mode": "free",
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
