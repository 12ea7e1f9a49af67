"""Jobs on disk: what was asked, which attempt runs, how it ended; and their pictures.

One small SQLite file, so that a restarted GPU server knows its jobs again. Written by one thread.
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


@dataclass(frozen=True)
class Record:
    """A job as kept: `request` and `outcome` are JSON objects of the runner's making.

    `clean`: nothing of it is left in ComfyUI; `forgotten`: that is all that is waited for.
    """

    id: UUID
    request: dict[str, Any]
    fingerprint: str
    attempt: int = 0
    created: float = 0.0
    ended: float | None = None
    outcome: dict[str, Any] | None = None
    clean: bool = False
    forgotten: bool = False


class Records:
    """Opened once per service; every call is safe to repeat."""

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
        """A value kept under `name`; `default` is stored when there is none."""
        return await self._do(lambda: self._fact(name, default))

    def add(self, record: Record, photo: bytes | None) -> asyncio.Future[None]:
        """Begin to write the record; need not be awaited: all is written in order."""
        return self._do(lambda: self._add(record, photo))

    async def set_attempt(self, job: UUID, attempt: int) -> None:
        sql = "UPDATE jobs SET attempt = ? WHERE id = ?"
        await self._do(lambda: self._db.execute(sql, (attempt, str(job))))

    def end(
        self, job: UUID, outcome: dict[str, Any], images: list[bytes], ended: float
    ) -> asyncio.Future[None]:
        """Begin to keep how a job ended and its pictures; its photo is no longer needed."""
        return self._do(lambda: self._end(job, outcome, images, ended))

    async def forget(self, job: UUID, *, clean: bool) -> None:
        """Keep nothing of the job but, unless `clean`, that ComfyUI must be cleaned of it."""
        await self._do(lambda: self._forget(job, clean))

    async def set_clean(self, jobs: list[UUID]) -> None:
        """ComfyUI has nothing of these jobs any more."""
        await self._do(lambda: self._set_clean(jobs))

    async def all(self) -> list[Record]:
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

    def _add(self, record: Record, photo: bytes | None) -> None:
        if photo is not None:
            _write(self._files(record.id) / "photo", photo)
        self._db.execute(
            "INSERT OR REPLACE INTO jobs (id, request, fingerprint, created) VALUES (?, ?, ?, ?)",
            (str(record.id), json.dumps(record.request), record.fingerprint, record.created),
        )

    def _end(self, job: UUID, outcome: dict[str, Any], images: list[bytes], ended: float) -> None:
        for number, image in enumerate(images):
            _write(self._files(job) / f"{number}.image", image)
        self._db.execute(
            "UPDATE jobs SET ended = ?, outcome = ? WHERE id = ?",
            (ended, json.dumps(outcome), str(job)),
        )
        (self._files(job) / "photo").unlink(missing_ok=True)

    def _forget(self, job: UUID, clean: bool) -> None:
        if clean:
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

    def _all(self) -> list[Record]:
        rows = self._db.execute(
            "SELECT id, request, fingerprint, attempt, created, ended, outcome, clean, forgotten"
            " FROM jobs ORDER BY created"
        )
        return [_record(row) for row in rows]


def _record(row: tuple[Any, ...]) -> Record:
    job, request, mark, attempt, created, ended, outcome, clean, forgotten = row
    return Record(
        UUID(job),
        json.loads(request),
        mark,
        attempt,
        created,
        ended,
        None if outcome is None else json.loads(outcome),
        bool(clean),
        bool(forgotten),
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
