"""Real servers on loopback for these tests: engines, GPU servers, and what fails between them."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import uvicorn
from fastapi import FastAPI

from gpu_server import sketch
from gpu_server.client import GpuClient, JobEvent
from gpu_server.schemas import Job
from gpu_server.server import create_app
from gpu_server.settings import Settings
from gpu_server.timeouts import Timeouts
from tests.services import files_below

QUICK = Timeouts(
    request_s=4,
    poll_s=0.3,
    down_poll_s=0.05,
    liveness_s=1,
    misses=2,
    styles_s=1,
    ping_s=0.5,
    first_frame_s=1,
    backoff_s=0.2,
    tick_s=0.1,
    history_s=0.4,
    mute_s=0.5,
    dead_s=1.5,
    not_started_s=0.7,
    loading_s=10,
    stop_s=0.7,
    cancel_s=10,
    retry_s=0.05,
    engine_back_s=10,
    latched_s=0.5,
    sweep_s=0.1,
)
"""Everything that is waited for in a tenth of its time."""

SMALL = {"mode": "free", "prompt": "a fox", "width": 256, "height": 256, "format": "jpeg"}
DEADLINE_S = 30.0


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


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass
class Comfy:
    """The engine as a test sees it: its faults, its queue and what it has drawn."""

    url: str
    folder: Path
    http: httpx.AsyncClient

    async def fault(self, name: str, **options: Any) -> None:
        answer = await self.http.post("/sketch/faults", json={"fault": name, **options})
        answer.raise_for_status()

    async def clear_faults(self) -> None:
        (await self.http.delete("/sketch/faults")).raise_for_status()

    async def queue(self) -> tuple[list[str], list[str]]:
        """Prompt ids that run and that wait."""
        found = (await self.http.get("/queue")).json()
        running, pending = found["queue_running"], found["queue_pending"]
        return [entry[1] for entry in running], [entry[1] for entry in pending]

    async def history(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get("/history")).json()
        return found

    async def drawn(self) -> list[str]:
        """Ids of the prompts that were executed to a good end."""
        history = await self.history()
        return [key for key, e in history.items() if e["status"]["status_str"] == "success"]

    def files(self) -> list[str]:
        """Files of jobs in the engine's own folders."""
        return [
            str(path.relative_to(self.folder))
            for kind in ("input", "output")
            for path in files_below(self.folder / kind)
            if path.is_file()
        ]


@contextlib.asynccontextmanager
async def engine(folder: Path, port: int = 0, **options: Any) -> AsyncIterator[Comfy]:
    """A sketch engine with its faults, in a thread of its own: it may freeze."""
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
    """A sketch engine as a process that can be killed, and a tiny supervisor for it."""

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
        """Start it again whenever it has ended."""
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


@dataclass
class Pod:
    """A GPU server and its clients: ours, and a plain one for what that does not do."""

    url: str
    client: GpuClient
    http: httpx.AsyncClient
    data: Path

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, url: str, data: Path, token: str = "") -> AsyncIterator["Pod"]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10) as http:
            client = GpuClient.at(url, token)
            try:
                yield cls(url, client, http, data)
            finally:
                await client.close()

    async def put(self, job_id: UUID | None = None, **values: Any) -> Job:
        answer = await self.http.put(f"/jobs/{job_id or uuid4()}", json={**SMALL, **values})
        assert answer.status_code == 202, answer.text
        return Job.model_validate_json(answer.content)

    async def ended(self, job_id: UUID, deadline_s: float = DEADLINE_S) -> Job:
        found: list[Job] = []

        async def over() -> bool:
            try:
                job = await self.client.job(job_id)
            except ConnectionError:
                return False
            found[:] = [job]
            return job.status.ended

        await until(over, "the job ends", deadline_s)
        return found[0]

    async def when(
        self, job_id: UUID, condition: Callable[[Job], bool], deadline_s: float = DEADLINE_S
    ) -> Job:
        """The job's state as soon as it fulfils `condition`."""
        found: list[Job] = []

        async def holds() -> bool:
            found[:] = [await self.client.job(job_id)]
            return condition(found[0])

        await until(holds, "the job's state", deadline_s)
        return found[0]

    async def draw(self, **values: Any) -> list[JobEvent]:
        """Every event of a job."""
        async with self.client.draw(uuid4(), {**SMALL, **values}, previews=True) as events:
            return [event async for event in events]

    async def readiness(self) -> tuple[int, dict[str, str]]:
        answer = await self.http.get("/readyz")
        return answer.status_code, answer.json()["checks"]

    async def ready(self) -> bool:
        return (await self.readiness())[0] == 200

    async def unready(self) -> bool:
        return not await self.ready()

    async def until_ready(self) -> None:
        await until(self.ready, "the GPU server is ready")

    async def metric(self, name: str) -> float:
        """The sum over a metric's labels."""
        text = (await self.http.get("/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith((name + " ", name + "{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def kept_files(self) -> list[Path]:
        """What is on disk of jobs."""
        return files_below(self.data / "gpu_server" / "jobs")


class _Server(uvicorn.Server):
    def __init__(self, app: FastAPI) -> None:
        config = uvicorn.Config(
            app, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=1
        )
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@contextlib.asynccontextmanager
async def serving(
    url: str, data: Path, timeouts: Timeouts = QUICK, *, ready: bool = True, **settings: Any
) -> AsyncIterator[Pod]:
    """A GPU server in this event loop, ready unless that is not to be waited for."""
    app = create_app(Settings(comfyui_url=url, easel_data_dir=data, **settings), timeouts)
    server = _Server(app)
    token = settings.get("gpu_token")
    running = asyncio.create_task(server.serve())
    await server.up.wait()
    own = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        async with Pod.at(own, data, token.get_secret_value() if token else "") as pod:
            if ready:
                await pod.until_ready()
            yield pod
    finally:
        server.should_exit = True
        await running


@dataclass
class PodProcess:
    """A GPU server as a process of its own, to be killed."""

    engine_url: str
    data: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        settings = {
            "COMFYUI_URL": self.engine_url,
            "EASEL_DATA_DIR": str(self.data),
            "GPU_PORT": str(self.port),
            "GPU_LOG_LEVEL": "WARNING",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gpu_server"],
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """As `kill -9`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    async def until_ready(self, pod: Pod) -> None:
        async def ready() -> bool:
            try:
                return await pod.ready()
            except httpx.HTTPError:
                return False

        await until(ready, "the GPU server is ready")


@contextlib.asynccontextmanager
async def pod_process(engine_url: str, data: Path) -> AsyncIterator[tuple[PodProcess, Pod]]:
    process = PodProcess(engine_url, data)
    process.start()
    url = f"http://127.0.0.1:{process.port}"
    try:
        async with Pod.at(url, data) as pod:
            await process.until_ready(pod)
            yield process, pod
    finally:
        process.kill()


def sse_events(text: str) -> Iterator[tuple[str, Any]]:
    """Name and data of each event in a whole event stream."""
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            yield fields["event"], json.loads(fields["data"])
