"""What the backend adds and holds.

Real processes on loopback: backend, GPU server and the sketch engine with a graph that does
nothing. `direct` is a client of the engine alone: one WebSocket, keep-alive, `GET /view`.

  latency     one client, in turns with the direct one
  throughput  eight clients, in turns with the direct one
  queue       10,000 accepted without a pod; then a pod draws from a short line and from that one
"""

import asyncio
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx

from bench.comfy import direct_client, load_graph
from bench.report import finish, machine, parser, percentile
from bench.services import Stack, cpu_percent, make_stack, memory_mb, running_stack, serves
from bench.timing import Call, in_turns, rate
from tests.backend.processes import Backend, started, until

FEW, QUEUED = 200, 10_000
WARM_UP, CALLS, ROUNDS = 20, 200, 5
DRAWN = 400


def through_easel(url: str, http: httpx.AsyncClient) -> Call:
    async def call() -> None:
        body = {"mode": "noop", "user": uuid.uuid4().hex}
        answer = await http.post(f"{url}/generate", json=body, headers={"Accept": "image/png"})
        answer.raise_for_status()

    return call


async def measure_against_direct(stack: Stack) -> dict[str, dict[str, float]]:
    graph = load_graph("noop")
    async with direct_client(stack.engine.url) as client, httpx.AsyncClient(timeout=60) as http:
        easel = through_easel(stack.backend.url, http)

        def direct() -> Awaitable[bytes]:
            return client.draw(graph)

        await in_turns(direct, easel, WARM_UP)
        alone = await in_turns(direct, easel, CALLS)
        rates = [(await rate(direct, CALLS), await rate(easel, CALLS)) for _ in range(ROUNDS)]
    return {
        "latency": _latency(*alone),
        "throughput": {
            "direct_jobs_s": statistics.median(direct for direct, _ in rates),
            "easel_jobs_s": statistics.median(ours for _, ours in rates),
            "ratio": statistics.median(ours / direct for direct, ours in rates),
        },
    }


def _latency(direct: list[float], easel: list[float]) -> dict[str, float]:
    found = {
        f"{name}_p{percent}_ms": percentile(times, percent)
        for name, times in (("direct", direct), ("easel", easel))
        for percent in (50, 95)
    }
    added = {f"added_p{p}_ms": found[f"easel_p{p}_ms"] - found[f"direct_p{p}_ms"] for p in (50, 95)}
    return found | added


async def measure_queue(folder: Path) -> dict[str, float]:
    drained_few, _ = await _fill_and_drain(folder / "few", FEW)
    drained_many, found = await _fill_and_drain(folder / "many", QUEUED)
    return {
        **found,
        "drained_jobs_s_short_line": drained_few,
        "drained_jobs_s_long_line": drained_many,
        "dispatch_long_to_short": drained_few / drained_many,
    }


async def _fill_and_drain(folder: Path, queued: int) -> tuple[float, dict[str, float]]:
    """Jobs drawn per second from a line of this length, and what the line took while it waited."""
    stack = make_stack(folder)
    async with started(stack.backend), httpx.AsyncClient(timeout=60) as http:
        await serves(f"{stack.backend.url}/livez")
        found = await _fill(stack.backend, http, queued)
        async with started(stack.engine, stack.gpu):
            return await _drained_per_s(stack.backend, http, queued), found


async def _fill(backend: Backend, http: httpx.AsyncClient, queued: int) -> dict[str, float]:
    async def accept() -> None:
        body = {"mode": "noop", "user": f"user {random.randrange(500)}"}
        answer = await http.post(f"{backend.url}/generations", json=body)
        assert answer.status_code == 202, answer.text

    idle = memory_mb(backend.pid)
    return {
        "accepted_s": await rate(accept, queued),
        "memory_above_idle_mb": memory_mb(backend.pid) - idle,
        "memory_idle_mb": idle,
        "cpu_percent_waiting": await cpu_percent(backend.pid, 5),
    }


async def _drained_per_s(backend: Backend, http: httpx.AsyncClient, queued: int) -> float:
    async def ended() -> int:
        queue = (await http.get(f"{backend.url}/health")).json()["queue"]
        return queued - int(queue["waiting"]) - int(queue["running"])

    await until(ended, "the first to be drawn")
    first, began = await ended(), time.perf_counter()
    last = min(first + DRAWN, queued - 10)

    async def enough() -> bool:
        return await ended() >= last

    await until(enough, "jobs to be drawn", 120, 0.2)
    return (await ended() - first) / (time.perf_counter() - began)


async def measure() -> dict[str, Any]:
    found: dict[str, Any] = {"machine": machine(), "engine": "sketch"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running_stack(folder / "stack") as stack:
            found |= await measure_against_direct(stack)
        found["queue"] = await measure_queue(folder)
    return found


def main() -> int:
    options = parser("backend", __doc__).parse_args()
    return finish("backend", asyncio.run(measure()), options.output)


if __name__ == "__main__":
    sys.exit(main())
