"""GPU servers on loopback for these tests: in this event loop, or as a process to kill."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import uvicorn
from fastapi import FastAPI

from gpu_server.client import GpuClient, JobEvent
from gpu_server.schemas import Job
from gpu_server.server import create_app
from gpu_server.settings import Settings
from gpu_server.timeouts import Timeouts
from tests.gpu_server.engines import DEADLINE_S, until
from tests.services import files_below, free_port

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
    quiet_node_s=1,
    load_s_per_gb=0.01,
    not_started_s=0.7,
    loading_s=10,
    stop_s=0.7,
    cancel_s=10,
    retry_s=0.05,
    engine_back_s=10,
    latched_s=0.5,
    sweep_s=0.1,
)
"""Every timeout at about a tenth of its default."""

SMALL = {"mode": "free", "prompt": "a fox", "width": 256, "height": 256, "format": "jpeg"}


@dataclass
class Pod:
    """A GPU server with our client and a plain HTTP client for the rest."""

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
        """Wait until the job fulfils `condition` and return its state."""
        found: list[Job] = []

        async def holds() -> bool:
            found[:] = [await self.client.job(job_id)]
            return condition(found[0])

        await until(holds, "the job's state", deadline_s)
        return found[0]

    async def draw(self, **values: Any) -> list[JobEvent]:
        """Draw something and return every event."""
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
        """Return a metric, summed over its labels."""
        text = (await self.http.get("/metrics")).text
        lines = [line for line in text.splitlines() if line.startswith((name + " ", name + "{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def kept_files(self) -> list[Path]:
        """Return the files of jobs on disk."""
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
    """Run a GPU server in this event loop; wait until it is ready if `ready`."""
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
    """A GPU server as a process to kill."""

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
        """Send SIGKILL, as `kill -9` does."""
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
    """Yield name and data of each event in a complete stream."""
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            yield fields["event"], json.loads(fields["data"])
