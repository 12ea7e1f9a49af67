"""Elect the replica that leads, among several backends on one PostgreSQL.

The replica that holds an advisory lock leads: it schedules and answers. The others relay requests
to it (`backend.replication.relay`). PostgreSQL frees the lock of a process that dies or is cut off;
the replica that takes the lock next continues the committed generations.
"""

import asyncio
import ipaddress
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psycopg
import structlog
from psycopg.conninfo import make_conninfo

from backend.storage.database import DEADLINES, DatabaseAway, DatabaseRefused

log = structlog.get_logger()

LOCK = 0x4541_5345
"""The advisory lock's number: 'EASE'."""
CHECK_S = 1.0
"""How often the leader checks that PostgreSQL still knows its session."""
ANSWER_S = 3.0
"""Timeout of that check.

CHECK_S + ANSWER_S must stay below PostgreSQL's timeout for a dead peer, so that we step down before
the lock is freed and another replica leads.
"""
RELAYED_KEY = "relayed-"
"""Prefix of idempotency keys made by a replica: unlike with a caller's own, hanging up cancels."""

_TRY_S = 0.5
"""How long to wait between two attempts at the lock."""
_REFUSED_S = 5.0
"""How long to leave the lead to others after the database proved to be of a newer release."""
_SERVER_TIMEOUTS = """
    SET tcp_keepalives_idle = 5;
    SET tcp_keepalives_interval = 2;
    SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 10000
"""
"""Makes PostgreSQL, which by default takes hours, free the lock 11 s after a power cut."""
_FROZEN_AFTER_MS = 20_000
"""Timeout for a frozen leader, whose host still answers but whose session sends nothing.

Longer than a new leader needs to load the unfinished generations.
"""
_ANNOUNCE = "INSERT INTO leader VALUES (1, %s) ON CONFLICT (one) DO UPDATE SET url = EXCLUDED.url"
Serve = Callable[[], AbstractAsyncContextManager[None]]


@dataclass
class Leadership:
    """Whether this replica leads, or who else does."""

    database_url: str
    own_url: str
    leader_url: str | None = None
    leading: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _away_since: float | None = None

    @property
    def away_s(self) -> float:
        """Seconds since the database stopped answering; 0 while it answers."""
        return 0.0 if self._away_since is None else time.monotonic() - self._away_since

    async def run(self, serve: Serve) -> None:
        """Campaign for the lead, and `serve` while leading, until cancelled.

        Waits while the database is away; other exceptions of `serve` are passed on.
        """
        while True:
            try:
                conninfo = make_conninfo(self.database_url, **DEADLINES)
                async with await psycopg.AsyncConnection.connect(
                    conninfo, autocommit=True
                ) as connection:
                    await _prepare(connection)
                    self.own_url = _reachable(self.own_url, connection)
                    self._away_since = None
                    await self._campaign(connection, serve)
            except (psycopg.OperationalError, DatabaseAway) as error:
                if self._away_since is None:
                    self._away_since = time.monotonic()
                    log.warning("database_unavailable", error=type(error).__name__)
            except DatabaseRefused as error:  # of a newer release, whose replicas may lead
                log.warning("database_refused", reason=str(error))
                await asyncio.sleep(_REFUSED_S)
            self._set(False, None)
            await asyncio.sleep(_TRY_S)

    async def _campaign(self, connection: psycopg.AsyncConnection, serve: Serve) -> None:
        while not await _lock(connection):
            self._set(False, await _leader(connection))
            await asyncio.sleep(_TRY_S)
        await connection.execute(_ANNOUNCE, (self.own_url,))
        async with serve():
            log.info("leading", url=self.own_url)
            self._set(True, self.own_url)
            try:
                await _until_silent(connection)
                log.error("lead_lost", url=self.own_url)
            finally:
                self._set(False, None)

    def resign(self) -> None:
        """Stop answering as the leader, because this process is ending."""
        self._set(False, None)

    def _set(self, leading: bool, url: str | None) -> None:
        if (leading, url) != (self.leading, self.leader_url):
            self.leading, self.leader_url = leading, url
            self.changed.set()
            self.changed = asyncio.Event()

    async def wait_for_change(self) -> None:
        """Wait for another leader, but no longer than until the next attempt at the lock."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_TRY_S):
                await self.changed.wait()

    async def until_led_by_another(self, url: str | None) -> None:
        """Wait until a leader with another address than `url` is known."""
        while self.leader_url in (None, url):
            await self.changed.wait()


async def _prepare(connection: psycopg.AsyncConnection) -> None:
    await connection.execute(_SERVER_TIMEOUTS)
    with suppress(psycopg.errors.UndefinedObject):  # PostgreSQL before 14
        await connection.execute(f"SET idle_session_timeout = {_FROZEN_AFTER_MS}")
    with suppress(psycopg.errors.UniqueViolation):  # two replicas at once
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS leader (one INTEGER PRIMARY KEY, url TEXT NOT NULL)"
        )


async def _lock(connection: psycopg.AsyncConnection) -> bool:
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
    row = await cursor.fetchone()
    return bool(row and row[0])


async def _until_silent(connection: psycopg.AsyncConnection) -> None:
    """Wait until PostgreSQL no longer answers this session, which holds the lock while it does.

    A process that thaws after its session was ended notices at once.
    """
    with suppress(psycopg.OperationalError):
        while True:
            async for _ in connection.notifies(timeout=CHECK_S):
                pass  # no notifications are sent: the end of the session is what wakes us
            if not await _answers(connection):
                return


async def _answers(connection: psycopg.AsyncConnection) -> bool:
    check = asyncio.ensure_future(connection.execute("SELECT 1"))
    try:
        for _ in range(3):  # in parts: a blocked event loop must not count as silence
            await asyncio.wait({check}, timeout=ANSWER_S / 3)
        return check.done() and check.exception() is None
    finally:
        check.cancel()


async def _leader(connection: psycopg.AsyncConnection) -> str | None:
    row = await (await connection.execute("SELECT url FROM leader")).fetchone()
    return str(row[0]) if row else None


def _reachable(url: str, connection: psycopg.AsyncConnection) -> str:
    """Return `url`; if it names every address of the host, with the one that faces PostgreSQL."""
    parts = urlsplit(url)
    try:
        if not ipaddress.ip_address(parts.hostname or "").is_unspecified:
            return url
    except ValueError:  # a name
        return url
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as facing:
        own = facing.getsockname()[0] if facing.family != socket.AF_UNIX else "127.0.0.1"
    host = f"[{own}]" if ":" in own else own
    return parts._replace(netloc=f"{host}:{parts.port}").geturl()
