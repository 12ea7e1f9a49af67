"""Readers that never read their event streams cost little memory and hold up nobody."""

import asyncio
import re
import socket
from pathlib import Path

import httpx

from tests.backend.processes import Backend, Farm, started, until

READERS = 40
STEPS = 200
PICTURES = 2
GROWTH_MB = 40
"""How much the backend may grow: kept for all readers, these events would be some 200 MB."""


def memory_mb(process: int) -> float:
    [kilobytes] = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return int(kilobytes) / 1024


async def reader(url: str, path: str) -> socket.socket:
    """Open a connection that requests a stream and reads almost nothing of it."""
    where = httpx.URL(url)
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, (where.host, where.port))
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    await loop.sock_sendall(connection, request.encode())
    return connection


async def rest(connection: socket.socket) -> bytes:
    received = b""
    while data := await asyncio.get_running_loop().sock_recv(connection, 65536):
        received += data
    return received


async def test_readers_that_take_nothing_cost_little_and_hold_up_nobody(
    farm: Farm, tmp_path: Path
) -> None:
    backend = Backend(tmp_path, farm.urls)
    async with started(backend), httpx.AsyncClient(base_url=backend.url, timeout=60) as http:
        await backend.up(http)
        await followed(http, "warm-up", steps=50)
        await farm.fault("slow", seconds=0.01)
        before = memory_mb(backend.pid)
        body = {"mode": "tiny", "steps": STEPS, "count": PICTURES}
        one = (await http.post("/generations", json=body)).json()["id"]
        path = f"/generations/{one}/events?previews=true"
        readers = [await reader(backend.url, path) for _ in range(READERS)]
        taken, other = await asyncio.gather(read(http, path), followed(http, "somebody else"))
        grown = memory_mb(backend.pid) - before
        await farm.clear()
        assert "event: result" in taken
        assert "event: result" in other
        assert taken.count("event: preview") > STEPS / 4
        assert grown < GROWTH_MB
        late = (await rest(readers[0])).decode()
        assert "event: result" in late
        for connection in readers:
            connection.close()

        async def idle() -> bool:
            queue = (await http.get("/health")).json()["queue"]
            return not queue["running"] and not queue["waiting"]

        await until(idle, "nothing to go on")
        assert "Traceback" not in backend.output()


async def followed(http: httpx.AsyncClient, user: str, **more: int) -> str:
    body = {"mode": "tiny", "user": user, **more}
    one = (await http.post("/generations", json=body)).json()["id"]
    return await read(http, f"/generations/{one}/events?previews=true")


async def read(http: httpx.AsyncClient, path: str) -> str:
    return (await http.get(path)).text
