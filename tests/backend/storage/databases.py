"""A real PostgreSQL of the tests' own."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg

from tests.backend.processes import free_ports, until

BINARIES = Path("/usr/lib/postgresql/15/bin")


def why_no_postgres() -> str:
    """Return why no server can be started here; empty if one can."""
    if not (BINARIES / "initdb").exists():
        return f"there is no PostgreSQL 15 in {BINARIES}"
    if os.getuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL does not run as root, and there is no user postgres"
    return ""


class Postgres:
    """A server with an empty database in `folder`, to be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._user = "postgres" if os.getuid() == 0 else None
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen[bytes]
        if self._user:
            shutil.chown(folder, self._user)
        options = ["-D", "data", "-U", "easel", "-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(
            [str(BINARIES / "initdb"), *options],
            cwd=folder,
            user=self._user,
            check=True,
            capture_output=True,
        )

    @property
    def url(self) -> str:
        return f"postgresql://easel@127.0.0.1:{self._port}/postgres"

    async def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        with (self._folder / "log").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    str(BINARIES / "postgres"),
                    *("-D", "data", "-p", str(self._port), "-h", "127.0.0.1"),
                    *("-k", str(self._folder), "-c", "fsync=off"),
                ],
                cwd=self._folder,
                user=self._user,
                stdout=output,
                stderr=output,
            )
        await until(self._answers, "PostgreSQL")

    async def stop(self) -> None:
        """Stop it at once, with clients connected; committed rows are there after a start."""
        self._process.send_signal(signal.SIGINT)
        await asyncio.to_thread(self._process.wait, 30)

    async def cut_connections(self) -> None:
        """Close every connection to it."""
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            await connection.execute(query)

    async def _answers(self) -> bool:
        try:
            await asyncio.to_thread(lambda: psycopg.connect(self.url).close())
        except psycopg.OperationalError:
            return False
        return True


@contextlib.asynccontextmanager
async def postgres_server() -> AsyncIterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="easel-postgres-"))
    server = Postgres(folder)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        shutil.rmtree(folder)


@contextlib.asynccontextmanager
async def postgres() -> AsyncIterator[str]:
    """Run a server and yield its URL."""
    async with postgres_server() as server:
        yield server.url
