"""What the GPU server adds to a direct client of ComfyUI (one WebSocket, keep-alive, `GET /view`).

A graph of 64 px that does nothing, a photo-like picture of 1024 px, the pauses of the GPU between
queued jobs, and memory over many jobs. Both sides are measured in turns in the same run. Without
`--comfyui` a sketch engine is started.
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

from bench.comfy import DirectClient, direct_client, load_graph
from bench.photos import as_png, photo_like
from bench.report import finish, machine, parser, percentile
from bench.services import Engine, GpuServer, memory_mb, serves
from bench.timing import in_turns, rate
from tests.backend.processes import started

WARM_UP, REPEATS = 20, 3


def quantile_of(text: str, name: str, share: float) -> float | None:
    """A quantile of a Prometheus histogram, interpolated within its bucket; seconds."""
    buckets: list[tuple[float, float]] = []
    for line in text.splitlines():
        if line.startswith(f'{name}_bucket{{le="') and "+Inf" not in line:
            bound, _, count = line.removeprefix(f'{name}_bucket{{le="').partition('"} ')
            buckets.append((float(bound), float(count)))
    if not buckets or not buckets[-1][1]:
        return None
    wanted = share * buckets[-1][1]
    low, below = 0.0, 0.0
    for high, seen in buckets:
        if seen >= wanted:
            return low + (high - low) * (wanted - below) / max(seen - below, 1)
        low, below = high, seen
    return low


async def measure(
    direct: DirectClient, ours: httpx.AsyncClient, pid: int, rounds: int, jobs: int
) -> dict[str, Any]:
    async def draw(mode: str, media_type: str) -> bytes:
        headers = {"Accept": media_type}
        answer = await ours.post("/generate", json={"mode": mode}, headers=headers)
        return answer.raise_for_status().content

    noop, photo = load_graph("noop"), load_graph("photo")
    await _upload_photo(direct)

    def direct_noop() -> Awaitable[bytes]:
        return direct.draw(noop)

    def our_noop() -> Awaitable[bytes]:
        return draw("noop", "image/png")

    await in_turns(direct_noop, our_noop, WARM_UP)
    noops = await in_turns(direct_noop, our_noop, rounds)
    rates = [
        (await rate(direct_noop, rounds), await rate(our_noop, rounds)) for _ in range(REPEATS)
    ]
    photos = await in_turns(
        lambda: direct.draw(photo), lambda: draw("photo", "image/jpeg"), max(rounds // 10, 10)
    )
    before = memory_mb(pid)
    await rate(our_noop, jobs)
    after = memory_mb(pid)
    idle_s = quantile_of((await ours.get("/metrics")).text, "easel_gpu_idle_seconds", 0.5)
    return {
        "added_ms_p50": percentile(noops[1], 50) - percentile(noops[0], 50),
        "added_ms_p95": percentile(noops[1], 95) - percentile(noops[0], 95),
        "direct_ms_p50": percentile(noops[0], 50),
        "ours_ms_p50": percentile(noops[1], 50),
        "direct_jobs_per_s": statistics.median(direct for direct, _ in rates),
        "ours_jobs_per_s": statistics.median(ours for _, ours in rates),
        "jobs_per_s_ratio": statistics.median(ours / direct for direct, ours in rates),
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
    described = {"machine": machine()}
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = options.comfyui
        if not url:
            engine = Engine(folder)
            url = engine.url
            await stack.enter_async_context(started(engine))
            await serves(f"{url}/queue")
        gpu = GpuServer(folder, url)
        await stack.enter_async_context(started(gpu))
        await serves(f"{gpu.url}/readyz")
        http = httpx.AsyncClient(base_url=gpu.url, timeout=60, trust_env=False)
        ours = await stack.enter_async_context(http)
        direct = await stack.enter_async_context(direct_client(url))
        described["engine"] = (await ours.get("/health")).json()["engine"]
        return described | await measure(direct, ours, gpu.pid, options.rounds, options.jobs)


def main() -> int:
    options = parser("gpu_server", __doc__)
    options.add_argument("--comfyui", default="", help="URL of a ComfyUI; default: a sketch engine")
    options.add_argument("--rounds", type=int, default=200, help="of the graph that does nothing")
    options.add_argument("--jobs", type=int, default=1000, help="for the figure of the memory")
    given = options.parse_args()
    return finish("gpu_server", asyncio.run(run(given)), given.output)


if __name__ == "__main__":
    sys.exit(main())
