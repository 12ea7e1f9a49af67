"""Jobs on disk: request, current attempt, outcome and images.

One small SQLite file, written by one thread, from which a restarted GPU server recovers its jobs.
"""

import asyncio
import functools
import json
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import UUID

import structlog

from gpu_server import schemas
from gpu_server.jobs.cleanup import Leftover
from gpu_server.jobs.job import Job
from gpu_server.schemas import JobRequest
from web import sqlite
from web.client import Photos
from workflows.spec import IMAGE, PHOTOS

log = structlog.get_logger()

P = ParamSpec("P")
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
_REQUEST_FIELDS = {"mode", "style", "format", "timeout_s"}


def _in_thread(
    work: Callable[Concatenate["Records", P], T],
) -> Callable[Concatenate["Records", P], asyncio.Future[T]]:
    """Run a method in the one thread of the records, in the order of the calls.

    The call starts it; awaiting the result is optional.
    """

    @functools.wraps(work)
    def start(self: "Records", /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        call = functools.partial(work, self, *args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._thread, call)

    return start


class Records:
    """Opened once per service; every call may be repeated without harm."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, "records")
        self._db: sqlite3.Connection

    @_in_thread
    def open(self) -> None:
        """Raise FileRefused if the file cannot be used."""
        self._db = open_file(self._folder)

    @_in_thread
    def close(self) -> None:
        self._db.close()
        self._thread.shutdown(wait=False)

    @_in_thread
    def fact(self, name: str, default: str) -> str:
        """Return the value stored under `name`; store `default` if there is none."""
        self._db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, default))
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    @_in_thread
    def add(self, job: Job, photos: Photos) -> None:
        for name, photo in photos.items():
            _write(self._files(job.id) / _photo_file(name), photo)
        request = job.request.model_dump(include=_REQUEST_FIELDS)
        request |= {"values": job.request.values, "size": job.size, "kept": job.is_kept}
        self._db.execute(
            "INSERT OR REPLACE INTO jobs (id, request, fingerprint, created) VALUES (?, ?, ?, ?)",
            (str(job.id), json.dumps(request), job.fingerprint, job.created_at),
        )

    @_in_thread
    def set_attempt(self, job: UUID, attempt: int) -> None:
        self._db.execute("UPDATE jobs SET attempt = ? WHERE id = ?", (attempt, str(job)))

    @_in_thread
    def end(self, job: UUID, outcome: schemas.Job, images: list[bytes], ended_at: float) -> None:
        """Write a job's outcome and images; delete its photos."""
        for number, image in enumerate(images):
            _write(self._files(job) / f"{number}.image", image)
        self._db.execute(
            "UPDATE jobs SET ended = ?, outcome = ? WHERE id = ?",
            (ended_at, outcome.model_dump_json(), str(job)),
        )
        for path in self._files(job).glob("photo*"):
            path.unlink(missing_ok=True)

    @_in_thread
    def forget(self, job: UUID, *, is_clean: bool) -> None:
        """Delete the job; unless `is_clean`, remember that ComfyUI still has files of it."""
        if is_clean:
            self._db.execute("DELETE FROM jobs WHERE id = ?", (str(job),))
        else:
            self._db.execute(
                "UPDATE jobs SET forgotten = 1, request = '{}', outcome = NULL WHERE id = ?",
                (str(job),),
            )
        shutil.rmtree(self._files(job), ignore_errors=True)

    @_in_thread
    def set_clean(self, jobs: list[UUID]) -> None:
        """Note that ComfyUI keeps nothing of these jobs."""
        with self._db:
            self._db.execute("BEGIN")
            self._db.executemany(
                "UPDATE jobs SET clean = 1 WHERE id = ?", [(str(job),) for job in jobs]
            )
            self._db.execute("DELETE FROM jobs WHERE forgotten AND clean")

    @_in_thread
    def all(self) -> list[Job | Leftover]:
        """Return the jobs on disk, oldest first, and what ComfyUI still has of deleted ones.

        A row that cannot be read is dropped, and so are files that belong to no job: a kill between
        file and row leaves them.
        """
        rows = self._db.execute(
            "SELECT id, request, fingerprint, attempt, created, ended, outcome, clean, forgotten"
            " FROM jobs ORDER BY created"
        ).fetchall()
        found: list[Job | Leftover] = []
        for row in rows:
            try:
                found.append(_job(row))
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                log.warning("job_unreadable", error=type(error).__name__)  # its text has the prompt
                self._db.execute("DELETE FROM jobs WHERE id IS ?", (row[0],))
        self._remove_strays({str(job.id) for job in found if isinstance(job, Job)})
        return found

    def _remove_strays(self, jobs: set[str]) -> None:
        for folder in (self._folder / "jobs").iterdir():
            if folder.name not in jobs:
                log.info("stray_files_removed")
                shutil.rmtree(folder, ignore_errors=True)

    @_in_thread
    def image(self, job: UUID, number: int) -> bytes | None:
        return _read(self._files(job) / f"{number}.image")

    @_in_thread
    def photos(self, job: UUID) -> Photos:
        """Return those that were sent, by the names of their parameters."""
        files = ((name, _read(self._files(job) / _photo_file(name))) for name in PHOTOS)
        return {name: data for name, data in files if data is not None}

    def _files(self, job: UUID) -> Path:
        return self._folder / "jobs" / str(job)


def open_file(folder: Path) -> sqlite3.Connection:
    """Open the file; a damaged one is set aside, since the backend has its jobs drawn again.

    Raises:
        FileRefused: The disk is full, or the file cannot be written or is of a newer release.
    """
    path = folder / "jobs.sqlite3"
    try:
        (folder / "jobs").mkdir(parents=True, exist_ok=True)
        return _connected(path)
    except OSError as error:
        raise sqlite.FileRefused(
            f"jobs cannot be kept in {folder}: {error.strerror}; make it a folder that this user "
            "can write to, or set EASEL_DATA_DIR"
        ) from error
    except sqlite3.OperationalError as error:  # the file itself is in order
        raise sqlite.FileRefused.of(path, error) from error
    except sqlite3.DatabaseError as error:
        aside = path.with_name("jobs.sqlite3.damaged")
        log.warning("jobs_set_aside", reason=str(error), kept_as=aside.name)
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _connected(path)


def _connected(path: Path) -> sqlite3.Connection:
    """Raise DatabaseError if the file is damaged."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
        sqlite.migrate(db, path, [_SCHEMA])
        _check(db)
    except (sqlite3.Error, sqlite.FileRefused):
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection) -> None:
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _job(row: tuple[Any, ...]) -> Job | Leftover:
    job_id, request, fingerprint, attempt, created, ended, outcome, clean, forgotten = row
    if forgotten:
        return Leftover.of_deleted(UUID(job_id), int(attempt))
    datetime.fromtimestamp(created, UTC)  # raises if it is no time
    kept = json.loads(request)
    own = {name: kept[name] for name in _REQUEST_FIELDS}
    width, height = kept["size"] or (0, 0)
    job = Job(
        id=UUID(job_id),
        request=JobRequest.model_validate({**kept["values"], **own}),
        size=(width, height) if width else None,
        fingerprint=fingerprint,
        is_kept=bool(kept["kept"]),
        created_at=created,
    )
    job.resume(int(attempt))
    if outcome is not None:
        ended_as = schemas.Job.model_validate_json(outcome)
        job.restore(ended_as, ended_at=float(ended or 0), is_clean=bool(clean))
    return job


def _photo_file(name: str) -> str:
    return "photo" if name == IMAGE else f"photo-{name}"


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
