"""The sketch engine as a process of its own, as `python -m gpu_server.sketch` starts it."""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from websockets.exceptions import ConnectionClosed

from tests.gpu_server.sketch.comfy import Comfy, flat

_START_TIMEOUT_S = 60


async def _start(*arguments: str) -> Process:
    command = [sys.executable, "-m", "gpu_server.sketch", *arguments]
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)


@pytest_asyncio.fixture
async def process(tmp_path: Path) -> AsyncIterator[tuple[Process, Comfy]]:
    (tmp_path / "temp").mkdir()
    (tmp_path / "temp" / "old.png").write_bytes(b"")
    arguments = ["--port", "0", "--base-dir", str(tmp_path), "--checkpoint", "my.safetensors"]
    started = await _start(*arguments, "--faults")
    assert started.stdout is not None
    line = (await asyncio.wait_for(started.stdout.readline(), _START_TIMEOUT_S)).decode()
    assert "without an AI model" in line
    address = re.search(r"http://\S+", line)
    assert address is not None
    async with httpx.AsyncClient(base_url=address[0], timeout=30) as http:
        yield started, Comfy(address[0], http)
    if started.returncode is None:
        started.kill()
    await started.communicate()


async def test_the_process_serves_and_stops_on_sigterm(
    process: tuple[Process, Comfy], tmp_path: Path
) -> None:
    server, comfy = process
    assert not list((tmp_path / "temp").iterdir())
    assert "my.safetensors" in (await comfy.http.get("/models/checkpoints")).json()
    async with comfy.socket("me") as socket:
        assert (await comfy.run(flat(), socket, "me"))["status"]["completed"]
        server.terminate()
        with pytest.raises(ConnectionClosed):
            await socket.read()
    await asyncio.wait_for(server.wait(), 30)


async def test_a_frozen_server_answers_nothing_for_a_while(
    process: tuple[Process, Comfy],
) -> None:
    _, comfy = process
    async with comfy.socket("me") as socket:
        await comfy.fault("frozen", seconds=2)
        pong = await socket.connection.ping()
        async with asyncio.timeout(10):
            while await _answers(comfy):
                pass  # the freeze begins shortly after its answer
        assert (await comfy.http.get("/queue")).status_code == 200
        await pong


async def _answers(comfy: Comfy) -> bool:
    try:
        return (await comfy.http.get("/queue", timeout=0.3)).status_code == 200
    except httpx.ReadTimeout:
        return False


async def test_an_address_that_is_not_loopback_is_refused_in_one_sentence(tmp_path: Path) -> None:
    refused = await _start("--host", "0.0.0.0", "--base-dir", str(tmp_path))
    _, errors = await asyncio.wait_for(refused.communicate(), _START_TIMEOUT_S)
    assert refused.returncode == 2
    assert "listens on loopback only" in errors.decode()
