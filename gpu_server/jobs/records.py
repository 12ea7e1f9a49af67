"""Jobs on disk: request, current attempt, outcome and images.

One small SQLite file, written by one thread, from which a restarted GPU server recovers its jobs.
"""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from gpu_server import schemas
from gpu_server.jobs.job import Job
from gpu_server.schemas import JobRequest

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    ended REAL,
    outcome TEXT,
    clean INTEGER NOT NULL DEFAULT 0,
    forgotten INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A job as read from disk; times in seconds since the epoch."""

    id: UUID
    request: JobRequest
    size: tuple[int, int]
    is_kept: bool
    fingerprint: str
    attempt: int
    created_at: float
    outcome: schemas.Job | None
    """None: it has not ended."""
    ended_at: float
    is_clean: bool
    """Whether ComfyUI keeps nothing of it."""


@dataclass(frozen=True)
class Forgotten:
    """A deleted job whose files are still to be removed from ComfyUI."""

    id: UUID
    attempt: int


class Records:
    """Opened once per service; every call may be repeated without harm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, "records")
        self._db: sqlite3.Connection

    async def open(self) -> None:
        await self._do(self._open)

    async def close(self) -> None:
        await self._do(self._db.close)
        self._thread.shutdown()

    async def fact(self, name: str, default: str) -> str:
        """Return the value stored under `name`; store `default` if there is none."""
        return await self._do(lambda: self._fact(name, default))

    def add(self, job: Job, photo: bytes | None) -> asyncio.Future[None]:
        """Start writing a new job. Awaiting it is optional: writes happen in order."""
        return self._do(lambda: self._add(job, photo))

    async def set_attempt(self, job: UUID, attempt: int) -> None:
        sql = "UPDATE jobs SET attempt = ? WHERE id = ?"
        await self._do(lambda: self._db.execute(sql, (attempt, str(job))))

    def end(
        self, job: UUID, outcome: schemas.Job, images: list[bytes], ended_at: float
    ) -> asyncio.Future[None]:
        """Start writing a job's outcome and images; its photo is deleted."""
        return self._do(lambda: self._end(job, outcome, images, ended_at))

    async def forget(self, job: UUID, *, is_clean: bool) -> None:
        """Delete the job; unless `is_clean`, remember that ComfyUI still has files of it."""
        await self._do(lambda: self._forget(job, is_clean))

    async def set_clean(self, jobs: list[UUID]) -> None:
        """Note that ComfyUI keeps nothing of these jobs."""
        await self._do(lambda: self._set_clean(jobs))

    async def all(self) -> list[Record | Forgotten]:
        """Return everything on disk, oldest first."""
        return await self._do(self._all)

    async def image(self, job: UUID, number: int) -> bytes | None:
        return await self._do(lambda: _read(self._files(job) / f"{number}.image"))

    async def photo(self, job: UUID) -> bytes | None:
        return await self._do(lambda: _read(self._files(job) / "photo"))

    def _files(self, job: UUID) -> Path:
        return self._folder / "jobs" / str(job)

    def _do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self) -> None:
        (self._folder / "jobs").mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(
            self._folder / "jobs.sqlite3", isolation_level=None, check_same_thread=False
        )
        self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" + _SCHEMA)

    def _fact(self, name: str, default: str) -> str:
        self._db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, default))
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    def _add(self, job: Job, photo: bytes | None) -> None:
        if photo is not None:
            _write(self._files(job.id) / "photo", photo)
        self._db.execute(
            "INSERT OR REPLACE INTO jobs (id, request, fingerprint, created) VALUES (?, ?, ?, ?)",
            (str(job.id), _request_json(job), job.fingerprint, job.created_at),
        )

    def _end(self, job: UUID, outcome: schemas.Job, images: list[bytes], ended_at: float) -> None:
        for number, image in enumerate(images):
            _write(self._files(job) / f"{number}.image", image)
        self._db.execute(
            "UPDATE jobs SET ended = ?, outcome = ? WHERE id = ?",
            (ended_at, outcome.model_dump_json(), str(job)),
        )
        (self._files(job) / "photo").unlink(missing_ok=True)

    def _forget(self, job: UUID, is_clean: bool) -> None:
        if is_clean:
            self._db.execute("DELETE FROM jobs WHERE id = ?", (str(job),))
        else:
            self._db.execute(
                "UPDATE jobs SET forgotten = 1, request = '{}', outcome = NULL WHERE id = ?",
                (str(job),),
            )
        shutil.rmtree(self._files(job), ignore_errors=True)

    def _set_clean(self, jobs: list[UUID]) -> None:
        with self._db:
            self._db.execute("BEGIN")
            self._db.executemany(
                "UPDATE jobs SET clean = 1 WHERE id = ?", [(str(job),) for job in jobs]
            )
            self._db.execute("DELETE FROM jobs WHERE forgotten AND clean")

    def _all(self) -> list[Record | Forgotten]:
        rows = self._db.execute(
            "SELECT id, request, fingerprint, attempt, created, ended, outcome, clean, forgotten"
            " FROM jobs ORDER BY created"
        )
        return [_record(row) for row in rows]


def _request_json(job: Job) -> str:
    """Return what `_record` reads back."""
    request = job.request
    return json.dumps(
        {
            "mode": request.mode,
            "style": request.style,
            "values": request.values,
            "size": job.size,
            "format": request.format,
            "timeout_s": request.timeout_s,
            "kept": job.is_kept,
        }
    )


def _record(row: tuple[Any, ...]) -> Record | Forgotten:
    job, request, fingerprint, attempt, created, ended, outcome, clean, forgotten = row
    if forgotten:
        return Forgotten(UUID(job), attempt)
    kept = json.loads(request)
    own = {name: kept[name] for name in ("mode", "style", "format", "timeout_s")}
    width, height = kept["size"]
    return Record(
        id=UUID(job),
        request=JobRequest.model_validate({**kept["values"], **own}),
        size=(width, height),
        is_kept=bool(kept["kept"]),
        fingerprint=fingerprint,
        attempt=attempt,
        created_at=created,
        outcome=None if outcome is None else schemas.Job.model_validate_json(outcome),
        ended_at=ended or 0.0,
        is_clean=bool(clean),
    )


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)
