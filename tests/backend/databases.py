"""A real PostgreSQL of the tests' own."""

import asyncio
import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg

from tests.backend.processes import free_ports, until

BINARIES = Path("/usr/lib/postgresql/15/bin")


def why_no_postgres() -> str:
    """Why no server can be started here; empty when it can."""
    if not (BINARIES / "initdb").exists():
        return f"there is no PostgreSQL 15 in {BINARIES}"
    if os.getuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL does not run as root, and there is no user postgres"
    return ""


@contextlib.asynccontextmanager
async def postgres() -> AsyncIterator[str]:
    """A server with an empty database; yields its URL."""
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="easel-postgres-"))
    if user:
        shutil.chown(folder, user)
    (port,) = free_ports(1)
    initialise = ["initdb", "-D", "data", "-U", "easel", "-A", "trust", "--no-sync", "-E", "UTF8"]
    subprocess.run(
        [str(BINARIES / initialise[0]), *initialise[1:]],
        cwd=folder,
        user=user,
        check=True,
        capture_output=True,
    )
    with (folder / "log").open("wb") as output:
        server = subprocess.Popen(
            [
                str(BINARIES / "postgres"),
                *("-D", "data", "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)),
                *("-c", "fsync=off"),
            ],
            cwd=folder,
            user=user,
            stdout=output,
            stderr=output,
        )
    url = f"postgresql://easel@127.0.0.1:{port}/postgres"
    try:

        async def answers() -> bool:
            try:
                await asyncio.to_thread(lambda: psycopg.connect(url).close())
            except psycopg.OperationalError:
                return False
            return True

        await until(answers, "PostgreSQL")
        yield url
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder)
