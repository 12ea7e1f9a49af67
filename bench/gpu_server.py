"""Measure what the GPU server adds to a direct client of ComfyUI.

A 64 px no-op graph, a 1024 px photo-like image, the pauses of the GPU between queued jobs, and
memory over many jobs. The direct client has one WebSocket, keep-alive connections and `GET /view`;
both sides alternate in the same run. Without `--comfyui` this starts a sketch engine.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx

from bench.harness.comfy import DirectClient, direct_client, load_graph
from bench.harness.photos import as_png, photo_like
from bench.harness.services import Engine, GpuServer, memory_mb, wait_until_served
from bench.harness.timing import in_turns, rate
from bench.report import finish, machine, parser, percentile
from tests.backend.processes import started

_WARM_UP, _REPEATS = 20, 3


def quantile_of(text: str, name: str, share: float) -> float | None:
    """Read a quantile of a Prometheus histogram in seconds, interpolated within its bucket."""
    buckets: list[tuple[float, float]] = []
    for line in text.splitlines():
        if line.startswith(f'{name}_bucket{{le="') and "+Inf" not in line:
            bound, _, count = line.removeprefix(f'{name}_bucket{{le="').partition('"} ')
            buckets.append((float(bound), float(count)))
    if not buckets or not buckets[-1][1]:
        return None
    rank = share * buckets[-1][1]
    low, below = 0.0, 0.0
    for high, seen in buckets:
        if seen >= rank:
            return low + (high - low) * (rank - below) / max(seen - below, 1)
        low, below = high, seen
    return low


async def measure(
    direct: DirectClient, easel: httpx.AsyncClient, pid: int, rounds: int, jobs: int
) -> dict[str, Any]:
    async def draw(mode: str, media_type: str) -> bytes:
        headers = {"Accept": media_type}
        answer = await easel.post("/generate", json={"mode": mode}, headers=headers)
        return answer.raise_for_status().content

    noop, photo = load_graph("noop"), load_graph("photo")
    await _upload_photo(direct)

    def direct_noop() -> Awaitable[bytes]:
        return direct.draw(noop)

    def easel_noop() -> Awaitable[bytes]:
        return draw("noop", "image/png")

    await in_turns(direct_noop, easel_noop, _WARM_UP)
    noops = await in_turns(direct_noop, easel_noop, rounds)
    rates = [
        (await rate(direct_noop, rounds), await rate(easel_noop, rounds)) for _ in range(_REPEATS)
    ]
    photos = await in_turns(
        lambda: direct.draw(photo), lambda: draw("photo", "image/jpeg"), max(rounds // 10, 10)
    )
    before = memory_mb(pid)
    await rate(easel_noop, jobs)
    after = memory_mb(pid)
    idle_s = quantile_of((await easel.get("/metrics")).text, "easel_gpu_idle_seconds", 0.5)
    return {
        "added_ms_p50": percentile(noops[1], 50) - percentile(noops[0], 50),
        "added_ms_p95": percentile(noops[1], 95) - percentile(noops[0], 95),
        "direct_ms_p50": percentile(noops[0], 50),
        "ours_ms_p50": percentile(noops[1], 50),
        "direct_jobs_per_s": statistics.median(base for base, _ in rates),
        "ours_jobs_per_s": statistics.median(own for _, own in rates),
        "jobs_per_s_ratio": statistics.median(own / base for base, own in rates),
        "direct_png_1024_ms_p50": percentile(photos[0], 50),
        "ours_jpeg_1024_ms_p50": percentile(photos[1], 50),
        "jpeg_to_png_ratio": percentile(photos[1], 50) / percentile(photos[0], 50),
        "gpu_idle_ms_p50": None if idle_s is None else idle_s * 1000,
        "jobs_for_memory": jobs,
        "memory_mb_before": before,
        "memory_mb_after": after,
        "memory_gained_mb": after - before,
    }


async def _upload_photo(direct: DirectClient) -> None:
    files = {"image": ("photo.png", as_png(photo_like()), "image/png")}
    where = {"subfolder": "easel-bench", "overwrite": "true"}
    (await direct.http.post("/upload/image", files=files, data=where)).raise_for_status()


async def run(options: argparse.Namespace) -> dict[str, Any]:
    figures = {"machine": machine()}
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = options.comfyui
        if not url:
            engine = Engine(folder)
            url = engine.url
            await stack.enter_async_context(started(engine))
            await wait_until_served(f"{url}/queue")
        gpu = GpuServer(folder, url)
        await stack.enter_async_context(started(gpu))
        await wait_until_served(f"{gpu.url}/readyz")
        http = httpx.AsyncClient(base_url=gpu.url, timeout=60, trust_env=False)
        easel = await stack.enter_async_context(http)
        direct = await stack.enter_async_context(direct_client(url))
        figures["engine"] = (await easel.get("/health")).json()["engine"]
        return figures | await measure(direct, easel, gpu.pid, options.rounds, options.jobs)


def main() -> int:
    options = parser("gpu_server", __doc__)
    options.add_argument("--comfyui", default="", help="URL of a ComfyUI; default: a sketch engine")
    options.add_argument("--rounds", type=int, default=200, help="of the no-op graph")
    options.add_argument("--jobs", type=int, default=1000, help="jobs over which to measure memory")
    arguments = options.parse_args()
    return finish("gpu_server", asyncio.run(run(arguments)), arguments.output)


if __name__ == "__main__":
    sys.exit(main())
