import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.infra.ssh.conftest import PROGRAM, STARTUP
from tests.infra.ssh.gateway import gateway

Run = Callable[..., Awaitable[tuple[int, bytes, bytes]]]


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    """Provide a function that runs easel-ssh against a gateway in this process."""
    workdir = tmp_path / "easel"
    workdir.mkdir()
    (workdir / "startup.sh").write_text(STARTUP)
    (workdir / "startup.sh").chmod(0o755)
    config = tmp_path / "config.json"
    async with gateway(tmp_path) as (port, key, known_hosts):
        route = {"host": "127.0.0.1", "port": port, "user": "pod-64410000", "key": str(key)}
        target = {"proxy": route, "workdir": str(workdir)}
        config.write_text(json.dumps({"targets": {"pod": target}}))
        (tmp_path / "known_hosts").write_text(known_hosts)

        async def call(*arguments: str, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(PROGRAM), *arguments),
                env={**os.environ, "EASEL_SSH_CONFIG": str(config)},
                stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(60):
                out, err = await process.communicate(stdin)
            assert process.returncode is not None
            return process.returncode, out, err

        yield call


async def test_a_command_runs_through_a_terminal_and_returns_its_code(run: Run) -> None:
    assert await run("exec", "--", "sh", "-c", "echo hi; exit 9") == (9, b"hi\n", b"")


async def test_binary_data_passes_the_terminal_unchanged(run: Run) -> None:
    blob = bytes(range(256)) * 4 + os.urandom(300_000)
    code, out, _ = await run("exec", "--raw", "--", "cat", stdin=blob)
    assert (code, out == blob) == (0, True)


async def test_files_pass_the_terminal_unchanged(run: Run, tmp_path: Path) -> None:
    source, there, back = (tmp_path / name for name in ("source", "there", "back"))
    source.write_bytes(os.urandom(500_000))
    assert (await run("push", str(source), str(there)))[0] == 0
    assert (await run("pull", str(there), str(back)))[0] == 0
    assert back.read_bytes() == source.read_bytes()


async def test_status_is_read_through_a_terminal(run: Run) -> None:
    code, out, _ = await run("status", "--json")
    assert code == 3
    assert json.loads(out)["targets"][0]["status"]["services"][0]["name"] == "backend"
