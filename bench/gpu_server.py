"""What the GPU server costs over a direct client: `python -m bench.gpu_server [--comfyui URL]`.

Without `--comfyui` a sketch engine is started. Prints a table and writes
`bench/results/gpu_server.json` (`--output`). Both sides are measured in turns in the same run.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from bench.comfy import WORKFLOWS, DirectClient, direct_client, load_graph

Call = Callable[[], Awaitable[Any]]
CLIENTS = 8


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def process(*command: str, ready: str, **settings: str) -> AsyncIterator[int]:
    """A process of ours until the context ends; its pid, once `ready` answers with 200."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *command,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            for _ in range(600):
                with contextlib.suppress(httpx.HTTPError):
                    if (await http.get(ready)).status_code == 200:
                        break
                await asyncio.sleep(0.1)
            else:
                raise TimeoutError(f"{command[0]} was not ready within a minute")
        yield running.pid
    finally:
        running.terminate()
        await running.wait()


async def seconds(call: Call) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


async def in_turns(direct: Call, ours: Call, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each call, taken alternately so that a busy machine is busy for both."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        found[0].append(await seconds(direct))
        found[1].append(await seconds(ours))
    return found


async def rate(call: Call, count: int) -> float:
    """Calls per second with CLIENTS of them at a time."""
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return count / (time.perf_counter() - began)


def p50(values: list[float]) -> float:
    return statistics.median(values)


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def ms(value: float) -> float:
    return round(value * 1000, 2)


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def photo_like() -> bytes:
    """A picture of 1024 x 1024 pixels with a photograph's spectrum, as PNG."""
    random = np.random.default_rng(4)
    pixels = np.zeros((1024, 1024, 3))
    for side, weight in ((8, 1.0), (32, 0.5), (128, 0.25), (512, 0.12), (1024, 0.035)):
        for channel in range(3):
            noise = Image.fromarray(random.standard_normal((side, side)).astype(np.float32))
            scaled = noise.resize((1024, 1024), Image.Resampling.BICUBIC)
            pixels[..., channel] += weight * np.asarray(scaled)
    pixels = np.clip((pixels - pixels.mean()) / pixels.std() * 0.22 + 0.5, 0, 1) * 255
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


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
    files = {"image": ("photo.png", photo_like(), "image/png")}
    where = {"subfolder": "easel-bench", "overwrite": "true"}
    (await direct.http.post("/upload/image", files=files, data=where)).raise_for_status()

    def direct_noop() -> Awaitable[bytes]:
        return direct.draw(noop)

    def our_noop() -> Awaitable[bytes]:
        return draw("noop", "image/png")

    await in_turns(direct_noop, our_noop, 20)  # warm
    singles = await in_turns(direct_noop, our_noop, rounds)
    rates = [(await rate(direct_noop, rounds), await rate(our_noop, rounds)) for _ in range(3)]
    photos = await in_turns(
        lambda: direct.draw(photo), lambda: draw("photo", "image/jpeg"), max(rounds // 10, 10)
    )
    before = resident_mb(pid)
    await rate(our_noop, jobs)
    after = resident_mb(pid)
    metrics = (await ours.get("/metrics")).text
    idle = quantile_of(metrics, "easel_gpu_idle_seconds", 0.5)
    return {
        "added_ms_p50": ms(p50(singles[1]) - p50(singles[0])),
        "added_ms_p95": ms(p95(singles[1]) - p95(singles[0])),
        "direct_ms_p50": ms(p50(singles[0])),
        "ours_ms_p50": ms(p50(singles[1])),
        "direct_jobs_per_s": round(statistics.median(r[0] for r in rates), 1),
        "ours_jobs_per_s": round(statistics.median(r[1] for r in rates), 1),
        "jobs_per_s_ratio": round(statistics.median(r[1] / r[0] for r in rates), 3),
        "direct_png_1024_ms_p50": ms(p50(photos[0])),
        "ours_jpeg_1024_ms_p50": ms(p50(photos[1])),
        "jpeg_to_png_ratio": round(p50(photos[1]) / p50(photos[0]), 3),
        "gpu_idle_ms_p50": None if idle is None else ms(idle),
        "jobs_for_memory": jobs,
        "memory_mb_before": before,
        "memory_mb_after": after,
    }


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = {line.partition(": ")[2] for line in lines if line.startswith("model name")}
    return {
        "cpu": ", ".join(sorted(names)) or platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


TARGETS = (
    ("added latency, p50 (64 px, one client)", "added_ms_p50", "ms", "<= 6"),
    ("added latency, p95", "added_ms_p95", "ms", ""),
    ("jobs/s with 8 clients, of direct's", "jobs_per_s_ratio", "", ">= 0.9"),
    ("1024 px JPEG, of direct's PNG time", "jpeg_to_png_ratio", "", "<= 0.5"),
    ("GPU idle between queued jobs, p50", "gpu_idle_ms_p50", "ms", "<= 5"),
    ("memory before the many jobs", "memory_mb_before", "MB", ""),
    ("memory after", "memory_mb_after", "MB", "flat"),
)


async def run(options: argparse.Namespace) -> dict[str, Any]:
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url = options.comfyui
        if not url:
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            command = ("gpu_server.sketch", "--port", str(port), "--base-dir", f"{folder}/comfyui")
            await stack.enter_async_context(process(*command, ready=f"{url}/queue"))
        port = free_port()
        own = f"http://127.0.0.1:{port}"
        settings = {
            "COMFYUI_URL": url,
            "EASEL_WORKFLOWS_DIR": str(WORKFLOWS),
            "EASEL_DATA_DIR": f"{folder}/data",
            "GPU_PORT": str(port),
            "GPU_TOKEN": "",
        }
        pid = await stack.enter_async_context(
            process("gpu_server", ready=f"{own}/readyz", **settings)
        )
        ours = await stack.enter_async_context(
            httpx.AsyncClient(base_url=own, timeout=60, trust_env=False)
        )
        direct = await stack.enter_async_context(direct_client(url))
        health = (await ours.get("/health")).json()
        described = {"machine": machine(), "engine": health["engine"]}
        return described | await measure(direct, ours, pid, options.rounds, options.jobs)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_server", description=__doc__)
    parser.add_argument("--comfyui", default="", help="URL of a ComfyUI; default: a sketch engine")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1000, help="for the figure of the memory")
    parser.add_argument("--output", type=Path, default=Path("bench/results/gpu_server.json"))
    options = parser.parse_args()
    found = asyncio.run(run(options))
    print(f"engine {found['engine']}, {found['machine']['cores']} cores, "
          f"load {found['machine']['load_before']}")  # fmt: skip
    for what, key, unit, target in TARGETS:
        print(f"{what:<42}{found[key]!s:>10} {unit:<3} {target}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
