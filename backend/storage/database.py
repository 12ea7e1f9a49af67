"""The database: its tables, and transactions in threads of their own."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from backend.storage.faults import SILENT, DatabaseAway, fault_of, is_about_the_request
from backend.storage.migrations import NewerSchema, upgrade
from backend.storage.row import decode
from web.sqlite import FileRefused

__all__ = ["Database", "DatabaseAway", "DatabaseRefused"]

log = structlog.get_logger()
T = TypeVar("T")

_RETRY_PAUSE_S = 1.0
_TRANSACTION_TIMEOUT_S = 20.0
"""Timeout for a transaction; a slower database counts as unavailable."""
_CLOSE_TIMEOUT_S = 5.0
DEADLINES = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Timeouts for a silent connection to PostgreSQL (libpq's names; seconds, the last in ms)."""

_CHECKED_BYTES = 200_000_000
"""Largest SQLite file that is checked whole at the start, which takes some 0.3 s for 100 MB."""

metadata = sa.MetaData()
"""The tables as queries see them; `backend.storage.migrations` makes them."""
generations = sa.Table(
    "generations",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("user", sa.String(128), nullable=False),
    sa.Column("idempotency_key", sa.String(255)),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("order", sa.JSON, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("pod", sa.String(255)),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
    sa.Column("outcome", sa.JSON),
    sa.Column("own_id", sa.String(36)),
    sa.Column("webhook", sa.Text),
    sa.UniqueConstraint("owner", "idempotency_key", name="one_generation_per_key"),
    sa.Index("generations_by_user", "owner", "user", "created"),
    sa.Index("generations_by_age", "created"),
    sa.Index("generations_ended", "ended"),
)
spending = sa.Table(
    "spending",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("created", sa.Float, primary_key=True),
    sa.Column("who", sa.String(64), nullable=False),
    sa.Column("images", sa.Integer, nullable=False),
    sa.Index("spending_of_user", "who", "created"),
    sa.Index("spending_by_age", "created"),
)
"""What counts against users' limits, kept for a day. Apart from the generations, because deleting
one refunds nothing; without names, as `who` is a hash. The id of a deleted generation may recur."""

refusals = sa.Table(
    "refusals",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.String(128), nullable=False),
    sa.Column("user", sa.String(128), nullable=False),
    sa.Column("category", sa.String(64), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("refusals_by_user", "owner", "user", "at"),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("generation", sa.String(36), nullable=False),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("due", sa.Float, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Index("deliveries_due", "due"),
    sa.Index("deliveries_of_generation", "generation"),
)
"""Ends of generations that a webhook is still to be told."""


class DatabaseRefused(Exception):
    """No service can run on this database; the message says why and what to do."""


class Database:
    """Runs transactions. Raises DatabaseAway, or SQLAlchemy's other exceptions."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _make_engine(url)
        self.is_sqlite = url.startswith("sqlite")
        # SQLite takes one writer at a time: with one thread, nobody waits for its lock.
        self._threads = ThreadPoolExecutor(1 if self.is_sqlite else 8, "database")
        self._closed = False

    async def open(self) -> None:
        if self.is_sqlite:
            await asyncio.to_thread(_remove_workflow_log, self.url)
        try:
            await self.run(upgrade)
        except NewerSchema as error:
            raise _newer(self.url, error) from error

    async def close(self) -> None:
        self._closed = True
        with suppress(TimeoutError):  # a silent database holds its thread for a while
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await asyncio.to_thread(self._threads.shutdown)
        self.engine.dispose()

    async def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a transaction, which is committed when it returns."""

        def transaction() -> T:
            with self.engine.begin() as connection:
                return work(connection)

        if self._closed:
            raise DatabaseAway
        try:
            async with asyncio.timeout(_TRANSACTION_TIMEOUT_S):
                return await asyncio.get_running_loop().run_in_executor(self._threads, transaction)
        except TimeoutError as error:
            raise self._away(error) from error
        except sa.exc.DBAPIError as error:
            if is_about_the_request(error):
                raise
            raise self._away(error) from error

    def _away(self, error: Exception) -> DatabaseAway:
        """Tell the operator what is wrong; return what callers are told."""
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        fault = fault_of(error)
        where = {"file": str(_file_of(self.url))} if self.is_sqlite else {}
        tell = log.warning if fault is SILENT else log.error
        name = type(cause).__name__
        tell("database_unavailable", error=name, fault=fault.name, advice=fault.advice, **where)
        return DatabaseAway(fault)

    async def insist(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work`, again and again while the database is unavailable."""
        while True:
            try:
                return await self.run(work)
            except DatabaseAway:
                await asyncio.sleep(_RETRY_PAUSE_S)


def prepare(url: str) -> float | None:
    """Make the tables and check that the database can be used, before anything is started.

    Return the Unix time at which a SQLite file was last written before. Raises DatabaseRefused. A
    PostgreSQL that does not answer may come later.
    """
    last_written = _last_written(_file_of(url)) if url.startswith("sqlite") else None
    try:
        engine = _make_engine(url)
        try:
            with engine.begin() as connection:
                _check_file(url, connection)
                upgrade(connection)
        finally:
            engine.dispose()
    except NewerSchema as error:
        raise _newer(url, error) from error
    except FileRefused as error:
        raise DatabaseRefused(str(error)) from error
    except OSError as error:
        text = f"the folder of {_file_of(url)} cannot be made: {error.strerror}; make it writable"
        raise DatabaseRefused(text) from error
    except sa.exc.DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise DatabaseRefused(str(FileRefused.of(_file_of(url), error.orig))) from error
    return last_written


def _check_file(url: str, connection: sa.Connection) -> None:
    """Raise FileRefused if a SQLite file is damaged: what is written to it would be lost too."""
    if not url.startswith("sqlite") or _file_of(url).stat().st_size > _CHECKED_BYTES:
        return
    if connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() != "ok":
        raise FileRefused.damaged(_file_of(url))


def _newer(url: str, error: NewerSchema) -> DatabaseRefused:
    where = f" {_file_of(url)}" if url.startswith("sqlite") else ""
    return DatabaseRefused(
        f"the database{where} is of a newer Easel (its schema is '{error}'); start that release, "
        "or restore a backup from before the update"
    )


def _make_engine(url: str) -> sa.Engine:
    """Return an engine for SQLite (write-ahead log, synced on commit) or PostgreSQL."""
    # Prompts are parameters, so `hide_parameters` keeps them out of exceptions.
    if not url.startswith("sqlite"):
        return sa.create_engine(
            url,
            pool_size=10,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args=DEADLINES,
            json_deserializer=decode,
        )
    _file_of(url).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, hide_parameters=True, json_deserializer=decode)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.text_factory = _text
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 10000"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _last_written(file: Path) -> float | None:
    parts = (file, file.with_name(f"{file.name}-wal"))
    return max((part.stat().st_mtime for part in parts if part.exists()), default=None)


def _text(data: bytes) -> str:
    """Decode text; where it is damaged, that row says so and no other."""
    return data.decode(errors="replace")


def _remove_workflow_log(url: str) -> None:
    """Remove the second database that the first release kept beside this one."""
    log_file = _file_of(url.removesuffix(".sqlite3") + "-workflows.sqlite3")
    for suffix in ("", "-wal", "-shm"):
        with suppress(OSError):
            Path(f"{log_file}{suffix}").unlink(missing_ok=True)


def _file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))
