"""Measure the time the backend adds, and a long queue.

Real processes on loopback: backend, GPU server and the sketch engine with a no-op graph. `direct`
is a client of the engine alone: one WebSocket, keep-alive connections, `GET /view`.

  latency     one client, alternating with the direct one
  throughput  eight clients, alternating with the direct ones
  queue       accept 10,000 without a pod, then draw from a short queue and from this one
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

from bench.harness.comfy import direct_client, load_graph
from bench.harness.services import (
    Stack,
    cpu_percent,
    make_stack,
    memory_mb,
    running_stack,
    wait_until_served,
)
from bench.harness.timing import Call, in_turns, rate
from bench.report import finish, machine, parser, percentile
from tests.backend.processes import Backend, started, until

_SHORT_QUEUE, _LONG_QUEUE = 200, 10_000
_WARM_UP, _CALLS, _ROUNDS = 20, 200, 5
_DRAWN = 400  # jobs drawn to measure the rate of dispatch


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

        await in_turns(direct, easel, _WARM_UP)
        latencies = await in_turns(direct, easel, _CALLS)
        rates = [(await rate(direct, _CALLS), await rate(easel, _CALLS)) for _ in range(_ROUNDS)]
    return {
        "latency": _latency(*latencies),
        "throughput": {
            "direct_jobs_s": statistics.median(base for base, _ in rates),
            "easel_jobs_s": statistics.median(own for _, own in rates),
            "ratio": statistics.median(own / base for base, own in rates),
        },
    }


def _latency(direct: list[float], easel: list[float]) -> dict[str, float]:
    times = {
        f"{name}_p{percent}_ms": percentile(values, percent)
        for name, values in (("direct", direct), ("easel", easel))
        for percent in (50, 95)
    }
    added = {f"added_p{p}_ms": times[f"easel_p{p}_ms"] - times[f"direct_p{p}_ms"] for p in (50, 95)}
    return times | added


async def measure_queue(folder: Path) -> dict[str, float]:
    short_rate, _ = await _fill_and_drain(folder / "few", _SHORT_QUEUE)
    long_rate, waiting = await _fill_and_drain(folder / "many", _LONG_QUEUE)
    return {
        **waiting,
        "drained_jobs_s_short_line": short_rate,
        "drained_jobs_s_long_line": long_rate,
        "dispatch_long_to_short": short_rate / long_rate,
    }


async def _fill_and_drain(folder: Path, queued: int) -> tuple[float, dict[str, float]]:
    """Measure jobs drawn per second from a queue of this length, and its cost while it waits."""
    stack = make_stack(folder)
    async with started(stack.backend), httpx.AsyncClient(timeout=60) as http:
        await wait_until_served(f"{stack.backend.url}/livez")
        waiting = await _fill(stack.backend, http, queued)
        async with started(stack.engine, stack.gpu):
            return await _drained_per_s(stack.backend, http, queued), waiting


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

    await until(ended, "the first job to be drawn")
    first, began = await ended(), time.perf_counter()
    last = min(first + _DRAWN, queued - 10)

    async def are_drawn() -> bool:
        return await ended() >= last

    await until(are_drawn, "jobs to be drawn", 120, 0.2)
    return (await ended() - first) / (time.perf_counter() - began)


async def measure() -> dict[str, Any]:
    figures: dict[str, Any] = {"machine": machine(), "engine": "sketch"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running_stack(folder / "stack") as stack:
            figures |= await measure_against_direct(stack)
        figures["queue"] = await measure_queue(folder)
    return figures


def main() -> int:
    options = parser("backend", __doc__).parse_args()
    return finish("backend", asyncio.run(measure()), options.output)


if __name__ == "__main__":
    sys.exit(main())
