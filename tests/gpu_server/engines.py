"""Sketch engines on loopback for these tests: in a thread with faults, or as a process to kill."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from gpu_server import sketch
from tests.services import files_below, free_port

DEADLINE_S = 60.0


async def until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for something outside this process; `condition` may be a coroutine function."""
    end = time.monotonic() + deadline_s
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline_s} s")
        await asyncio.sleep(0.02)


@dataclass
class Comfy:
    """The engine as a test sees it: its faults, its queue and what it drew."""

    url: str
    folder: Path
    http: httpx.AsyncClient

    async def fault(self, name: str, **options: Any) -> None:
        answer = await self.http.post("/sketch/faults", json={"fault": name, **options})
        answer.raise_for_status()

    async def clear_faults(self) -> None:
        (await self.http.delete("/sketch/faults")).raise_for_status()

    async def queue(self) -> tuple[list[str], list[str]]:
        """Return the prompt ids that run and those that wait."""
        found = (await self.http.get("/queue")).json()
        running, pending = found["queue_running"], found["queue_pending"]
        return [entry[1] for entry in running], [entry[1] for entry in pending]

    async def history(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get("/history")).json()
        return found

    async def drawn(self) -> list[str]:
        """Return the ids of the prompts that succeeded."""
        history = await self.history()
        return [key for key, e in history.items() if e["status"]["status_str"] == "success"]

    def files(self) -> list[str]:
        """Return the files of jobs in the engine's own folders."""
        return [
            str(path.relative_to(self.folder))
            for kind in ("input", "output")
            for path in files_below(self.folder / kind)
            if path.is_file()
        ]


@contextlib.asynccontextmanager
async def engine(folder: Path, port: int = 0, **options: Any) -> AsyncIterator[Comfy]:
    """Run a sketch engine with faults, in a thread of its own because it may freeze."""
    app = sketch.create_app(folder, faults=True, **options)
    server = sketch.create_server(app, port=port)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    await until(lambda: server.started, "the engine starts")
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        try:
            yield Comfy(url, folder, http)
        finally:
            server.should_exit = True
            await asyncio.to_thread(thread.join, 10)


@dataclass
class EngineProcess:
    """A sketch engine as a process to kill, with a tiny supervisor."""

    folder: Path
    port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid_file(self) -> Path:
        return self.folder / "comfyui.pid"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "gpu_server.sketch", "--faults"]
        command += ["--port", str(self.port), "--base-dir", str(self.folder), *self.options]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.pid_file.write_text(str(self.process.pid))
        self.starts += 1

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def supervise(self) -> None:
        """Restart it whenever it has ended."""
        while True:
            assert self.process is not None
            if self.process.poll() is not None:
                self.start()
            await asyncio.sleep(0.05)

    async def up(self, http: httpx.AsyncClient) -> None:
        async def answers() -> bool:
            try:
                return (await http.get("/queue")).status_code == 200
            except httpx.HTTPError:
                return False

        await until(answers, "the engine answers")


@contextlib.asynccontextmanager
async def engine_process(folder: Path, *options: str) -> AsyncIterator[tuple[EngineProcess, Comfy]]:
    process = EngineProcess(folder, options=options)
    process.start()
    async with httpx.AsyncClient(base_url=process.url, timeout=5) as http:
        try:
            await process.up(http)
            yield process, Comfy(process.url, folder, http)
        finally:
            process.kill()


@contextlib.asynccontextmanager
async def supervised(process: EngineProcess) -> AsyncIterator[None]:
    task = asyncio.create_task(process.supervise())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
