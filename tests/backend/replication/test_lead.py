"""The lead on a PostgreSQL that is lost, refuses for a while, or does not hear of a power cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
import pytest_asyncio

from tests.backend.processes import Backend, started, until
from tests.backend.storage.databases import postgres, why_no_postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")
if why_no_postgres():
    pytestmark = pytest.mark.skip(why_no_postgres())

NO_PODS = ["http://127.0.0.1:9"]
KEY = "somebody-secret-0123456789"
KEEPALIVE = "02"
"""A socket's timer as /proc/net/tcp has it."""
POWER_CUT_S = 10.0


@pytest_asyncio.fixture(loop_scope="module")
async def database() -> AsyncIterator[str]:
    async with postgres() as url:
        yield url


@dataclass
class Wire:
    """A TCP connection to PostgreSQL's port that can be cut without either end hearing of it."""

    port: int
    whole: asyncio.Event = field(default_factory=asyncio.Event)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[int]:
        self.whole.set()
        server = await asyncio.start_server(self._carry, "127.0.0.1")
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            self.whole.set()
            for writer in self.writers:
                writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers += [writer, far_writer]
        async with asyncio.TaskGroup() as ways:
            ways.create_task(self._pass(reader, far_writer))
            ways.create_task(self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self.whole.wait()
                writer.write(data)
        writer.close()


def port_of(database: str) -> int:
    return int(str(psycopg.conninfo.conninfo_to_dict(database)["port"]))


def keepalive_s(local_port: int, remote_port: int) -> float | None:
    """Return the seconds of silence until this end's kernel sends a keepalive; None: not now."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, _, timer, *_ = line.split()
        ports = [int(end.rpartition(":")[2], 16) for end in (local, remote)]
        kind, _, ticks = timer.partition(":")
        if ports == [local_port, remote_port] and kind == KEEPALIVE:
            return int(ticks, 16) / 100
    return None


async def test_a_leader_that_postgres_does_not_answer_stops_and_another_leads(
    database: str, tmp_path: Path
) -> None:
    wire = Wire(port_of(database))
    async with httpx.AsyncClient(timeout=30) as http, contextlib.AsyncExitStack() as stack:
        async with wire.up() as port:
            through = database.replace(str(wire.port), str(port))
            leading = Backend(tmp_path / "a", NO_PODS, backend_database_url=through)
            other = Backend(tmp_path / "b", NO_PODS, backend_database_url=database)
            await stack.enter_async_context(started(leading))
            await leading.up(http, "/modes")
            await stack.enter_async_context(started(other))
            await other.up(http, "/modes")
            wire.whole.clear()

            async def stopped() -> bool:
                return '"event": "lead_lost"' in leading.output()

            await until(stopped, "the leader to notice")
        await other.up(http, "/modes")
        assert '"event": "leading"' in other.output()


async def test_postgres_soon_hears_that_the_leaders_host_is_gone(
    database: str, tmp_path: Path
) -> None:
    backend = Backend(tmp_path, NO_PODS, backend_database_url=database)
    async with started(backend), httpx.AsyncClient(timeout=30) as http:
        await backend.up(http, "/modes")
        async with await psycopg.AsyncConnection.connect(database) as connection:
            cursor = await connection.execute(
                "SELECT client_port FROM pg_stat_activity JOIN pg_locks USING (pid) "
                "WHERE locktype = 'advisory'"
            )
            ((client_port,),) = await cursor.fetchall()

        async def asks_after() -> float | None:
            return keepalive_s(port_of(database), client_port)

        assert await until(asks_after, "a quiet moment of the connection") <= POWER_CUT_S


async def test_a_backend_that_cannot_serve_ends_and_says_why(database: str, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.write_text("a file where a folder should be")
    backend = Backend(
        tmp_path, NO_PODS, backend_database_url=database, backend_images_url=pictures.as_uri()
    )
    async with started(backend):
        assert await asyncio.to_thread(backend.wait, 60) != 0
    said = [line for line in backend.output().splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "cannot be made: File exists" in said[0]


async def test_a_database_that_refuses_connections_for_a_while_is_waited_for(
    database: str, tmp_path: Path
) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as operator:
        await operator.execute("CREATE ROLE backend LOGIN CONNECTION LIMIT 1")
        await operator.execute("ALTER DATABASE postgres OWNER TO backend")
        own = database.replace("easel@", "backend@")
        backend = Backend(tmp_path, NO_PODS, backend_database_url=own)
        async with started(backend), httpx.AsyncClient(timeout=30) as http:

            async def refused() -> bool:
                return "database_unavailable" in backend.output()

            await until(refused, "the lock to be all that it gets")
            await operator.execute("ALTER ROLE backend CONNECTION LIMIT 50")
            await backend.up(http, "/modes")


async def test_replicas_that_listen_on_every_address_find_each_other(
    database: str, tmp_path: Path
) -> None:
    shared = {
        "backend_database_url": database,
        "backend_host": "0.0.0.0",
        "backend_api_keys": f"somebody:{KEY}",
    }
    first = Backend(tmp_path / "a", NO_PODS, **shared)
    second = Backend(tmp_path / "b", NO_PODS, **shared)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(timeout=30, headers=headers) as http, started(first):
        await first.up(http, "/modes")
        async with started(second):
            await second.up(http, "/modes")
        async with await psycopg.AsyncConnection.connect(database) as connection:
            row = await (await connection.execute("SELECT url FROM leader")).fetchone()
    assert row == (first.url,)
