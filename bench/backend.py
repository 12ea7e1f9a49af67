"""What the backend adds and holds: `python -m bench.backend` prints a table and writes
`bench/results/backend.json`.

Real processes on loopback: backend, GPU server and the sketch engine with a graph that does
nothing. `direct` is a client of the engine alone: one WebSocket, keep-alive, `GET /view`.
"""

import asyncio
import contextlib
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import websockets

from tests.backend.processes import Backend, Process, free_ports, started, until

WORKFLOWS = Path(__file__).with_name("workflows")
RESULTS = Path(__file__).with_name("results") / "backend.json"
QUEUED = 10_000
FEW = 200
ROUNDS = 5
CALLS = 40
CLIENTS = 8
Call = Callable[[], Awaitable[None]]


@dataclass
class Stack:
    engine: Process
    gpu: Process
    backend: Backend
    engine_url: str


@contextlib.asynccontextmanager
async def stack(folder: Path) -> AsyncIterator[Stack]:
    """Backend, GPU server and engine, ready."""
    gpu_port, engine_port = free_ports(2)
    engine_url = f"http://127.0.0.1:{engine_port}"
    arguments = ["--port", str(engine_port), "--base-dir", str(folder / "engine")]
    engine = Process("gpu_server.sketch", arguments, folder / "engine.log")
    settings = {
        "GPU_PORT": str(gpu_port),
        "COMFYUI_URL": engine_url,
        "EASEL_DATA_DIR": str(folder),
        "EASEL_WORKFLOWS_DIR": str(WORKFLOWS),
    }
    gpu = Process("gpu_server", [], folder / "gpu.log", settings)
    pods = [f"http://127.0.0.1:{gpu_port}"]
    backend = Backend(folder, pods, easel_workflows_dir=WORKFLOWS)
    async with started(engine, gpu, backend), httpx.AsyncClient(timeout=30) as http:
        await backend.up(http)
        yield Stack(engine, gpu, backend, engine_url)


class Direct:
    """A client of ComfyUI's own protocol."""

    def __init__(self, url: str, http: httpx.AsyncClient, socket: Any, me: str) -> None:
        self.url, self.http, self.socket, self.me = url, http, socket, me
        self.graph = json.loads((WORKFLOWS / "noop" / "noop.json").read_text())

    async def draw(self) -> None:
        prompt_id = str(uuid.uuid4())
        graph = json.loads(json.dumps(self.graph))
        graph["1"]["inputs"]["color"] = colour()
        graph["2"]["inputs"]["filename_prefix"] = f"direct/{prompt_id}"
        body = {"prompt": graph, "prompt_id": prompt_id, "client_id": self.me}
        (await self.http.post(f"{self.url}/prompt", json=body)).raise_for_status()
        file: dict[str, str] = {}
        async for frame in self.socket:
            if isinstance(frame, bytes):
                continue
            event = json.loads(frame)
            data = event["data"]
            if data.get("prompt_id") != prompt_id:
                continue
            if event["type"] == "executed" and data["node"] == "2":
                file = data["output"]["images"][0]
            if event["type"] == "executing" and data["node"] is None:
                break
        (await self.http.get(f"{self.url}/view", params=file)).raise_for_status()


@contextlib.asynccontextmanager
async def direct(url: str) -> AsyncIterator[Direct]:
    me = uuid.uuid4().hex
    address = url.replace("http", "ws", 1) + f"/ws?clientId={me}"
    async with (
        websockets.connect(address, max_size=None) as socket,
        httpx.AsyncClient(timeout=30) as http,
    ):
        yield Direct(url, http, socket, me)


def colour() -> int:
    return random.randrange(2**24)


async def time_calls(call: Call, number: int) -> list[float]:
    """Milliseconds of each of so many calls, one after the other."""
    times = []
    for _ in range(number):
        began = time.perf_counter()
        await call()
        times.append((time.perf_counter() - began) * 1000)
    return times


async def rate(calls: list[Call], number: int) -> float:
    """Calls a second when each of `calls` is made `number` times, all side by side."""
    began = time.perf_counter()
    await asyncio.gather(*(time_calls(call, number) for call in calls))
    return len(calls) * number / (time.perf_counter() - began)


def through_easel(url: str, http: httpx.AsyncClient) -> Call:
    async def call() -> None:
        answer = await http.post(
            f"{url}/generate",
            json={"mode": "noop", "user": uuid.uuid4().hex, "seed": colour()},
            headers={"Accept": "image/png"},
        )
        answer.raise_for_status()

    return call


async def measure_latency(found: Stack) -> dict[str, float]:
    """In turns, so that both meet the same machine."""
    async with direct(found.engine_url) as client, httpx.AsyncClient(timeout=60) as http:
        easel = through_easel(found.backend.url, http)
        await time_calls(easel, 20)
        await time_calls(client.draw, 20)
        own: list[float] = []
        with_easel: list[float] = []
        for _ in range(ROUNDS):
            own += await time_calls(client.draw, CALLS)
            with_easel += await time_calls(easel, CALLS)
    return {
        "direct_p50_ms": percentile(own, 50),
        "direct_p95_ms": percentile(own, 95),
        "easel_p50_ms": percentile(with_easel, 50),
        "easel_p95_ms": percentile(with_easel, 95),
        "added_p50_ms": percentile(with_easel, 50) - percentile(own, 50),
        "added_p95_ms": percentile(with_easel, 95) - percentile(own, 95),
    }


async def measure_throughput(found: Stack) -> dict[str, float]:
    own, with_easel = [], []
    async with contextlib.AsyncExitStack() as opened:
        clients = [
            await opened.enter_async_context(direct(found.engine_url)) for _ in range(CLIENTS)
        ]
        http = await opened.enter_async_context(httpx.AsyncClient(timeout=60))
        for _ in range(ROUNDS):
            own.append(await rate([client.draw for client in clients], CALLS // 2))
            calls = [through_easel(found.backend.url, http)] * CLIENTS
            with_easel.append(await rate(calls, CALLS // 2))
    ratios = [ours / theirs for ours, theirs in zip(with_easel, own, strict=True)]
    return {
        "direct_jobs_s": statistics.median(own),
        "easel_jobs_s": statistics.median(with_easel),
        "ratio": statistics.median(ratios),
    }


async def measure_queue(folder: Path) -> dict[str, float]:
    """Accepting without a pod; then a pod comes and drains a short and a long line."""
    drain_few, _ = await _fill_and_drain(folder / "few", FEW)
    drain_many, found = await _fill_and_drain(folder / "many", QUEUED)
    return {
        **found,
        "drained_jobs_s_short_line": drain_few,
        "drained_jobs_s_long_line": drain_many,
        "dispatch_long_to_short": drain_few / drain_many,
    }


async def _fill_and_drain(folder: Path, queued: int) -> tuple[float, dict[str, float]]:
    gpu_port, engine_port = free_ports(2)
    backend = Backend(folder, [f"http://127.0.0.1:{gpu_port}"], easel_workflows_dir=WORKFLOWS)
    engine = Process(
        "gpu_server.sketch",
        ["--port", str(engine_port), "--base-dir", str(folder / "engine")],
        folder / "engine.log",
    )
    settings = {
        "GPU_PORT": str(gpu_port),
        "COMFYUI_URL": f"http://127.0.0.1:{engine_port}",
        "EASEL_DATA_DIR": str(folder),
        "EASEL_WORKFLOWS_DIR": str(WORKFLOWS),
    }
    gpu = Process("gpu_server", [], folder / "gpu.log", settings)
    async with started(backend), httpx.AsyncClient(timeout=60) as http:
        await backend.up(http, "/livez")
        idle = memory_mb(backend.pid)

        async def accept() -> None:
            user = f"user {random.randrange(500)}"
            body = {"mode": "noop", "user": user, "seed": colour()}
            answer = await http.post(f"{backend.url}/generations", json=body)
            assert answer.status_code == 202, answer.text

        accepted = await rate([accept] * CLIENTS, queued // CLIENTS)
        held = memory_mb(backend.pid) - idle
        cpu = await cpu_percent([backend.pid], 5)
        async with started(engine, gpu):

            async def ended() -> int:
                queue = (await http.get(f"{backend.url}/health")).json()["queue"]
                return queued - int(queue["waiting"]) - int(queue["running"])

            await until(ended, "the first to be drawn")
            first, began = await ended(), time.perf_counter()
            last = min(first + 400, queued - 10)

            async def enough() -> bool:
                return await ended() >= last

            await until(enough, "jobs to be drawn", 120, 0.2)
            drained = (await ended() - first) / (time.perf_counter() - began)
    return drained, {
        "accepted_s": accepted,
        "memory_above_idle_mb": held,
        "memory_idle_mb": idle,
        "cpu_percent_waiting": cpu,
    }


def memory_mb(pid: int) -> float:
    """Proportional share of memory: what ending this process would free."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no Pss")


async def cpu_percent(pids: list[int], seconds: float) -> float:
    """Of one core, all together."""

    def used() -> float:
        ticks = 0
        for pid in pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    before = used()
    await asyncio.sleep(seconds)
    return (used() - before) / seconds * 100


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def machine() -> dict[str, Any]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "note": "shared with other work while measured",
    }


def show(found: dict[str, dict[str, Any]]) -> None:
    for section, figures in found.items():
        print(section)
        for name, value in figures.items():
            print(
                f"  {name:28} {value:10.2f}" if isinstance(value, float) else f"  {name:28} {value}"
            )


async def main(parts: list[str]) -> None:
    found: dict[str, dict[str, Any]] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with stack(folder / "stack") as running:
            if "latency" in parts:
                found["latency"] = await measure_latency(running)
            if "throughput" in parts:
                found["throughput"] = await measure_throughput(running)
        if "queue" in parts:
            found["queue"] = await measure_queue(folder)
    show(found)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**kept, **found}, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["latency", "throughput", "queue"]))
