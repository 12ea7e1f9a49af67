"""The database: its tables, and transactions in threads of their own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from web.errors import EaselError

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

metadata = sa.MetaData()
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


class DatabaseAway(EaselError, code="no_gpu", status=503):
    """The database does not answer. What was being committed may be committed, or not."""

    title = "The database does not answer"

    def __init__(self) -> None:
        super().__init__(
            "The database does not answer, so nothing can be accepted or looked up now. Accepted "
            "generations are kept and continue when it is back; try again then",
            retry_after=5.0,
        )


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
        await self.run(metadata.create_all)

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
        except (sa.exc.OperationalError, sa.exc.InterfaceError, TimeoutError) as error:
            cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
            log.warning("database_unavailable", error=type(cause).__name__)
            raise DatabaseAway from error

    async def insist(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work`, again and again while the database is unavailable."""
        while True:
            try:
                return await self.run(work)
            except DatabaseAway:
                await asyncio.sleep(_RETRY_PAUSE_S)


def _make_engine(url: str) -> sa.Engine:
    """Return an engine for SQLite (write-ahead log, synced on commit) or PostgreSQL."""
    # Prompts are parameters, so `hide_parameters` keeps them out of exceptions.
    if not url.startswith("sqlite"):
        return sa.create_engine(
            url, pool_size=10, pool_pre_ping=True, hide_parameters=True, connect_args=DEADLINES
        )
    _file_of(url).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, hide_parameters=True)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 10000"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _remove_workflow_log(url: str) -> None:
    """Remove the second database that the first release kept beside this one."""
    log_file = _file_of(url.removesuffix(".sqlite3") + "-workflows.sqlite3")
    for suffix in ("", "-wal", "-shm"):
        with suppress(OSError):
            Path(f"{log_file}{suffix}").unlink(missing_ok=True)


def _file_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))
