"""What the whole stack takes while nobody asks for anything: `python -m bench.idle` prints a
table and writes `bench/results/idle.json`. Memory is the proportional share (PSS)."""

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx

from bench.backend import cpu_percent, machine, memory_mb, stack
from tests.backend.processes import Process, free_ports, started, until

RESULTS = Path(__file__).with_name("results") / "idle.json"
SETTLE_S = 10.0
WATCH_S = 30.0


async def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with contextlib.AsyncExitStack() as opened:
            found = await opened.enter_async_context(stack(folder))
            (port,) = free_ports(1)
            telegram = Process(
                "telegram_bot.local",
                [],
                folder / "telegram.log",
                {"LOCAL_TELEGRAM_PORT": str(port), "EASEL_DATA_DIR": str(folder)},
            )
            bot = Process(
                "telegram_bot",
                [],
                folder / "bot.log",
                {
                    "BOT_API_BASE_URL": f"http://127.0.0.1:{port}/bot",
                    "BOT_BACKEND_URL": found.backend.url,
                    "EASEL_DATA_DIR": str(folder),
                },
            )
            await opened.enter_async_context(started(telegram, bot))
            await _serves(port)
            processes = {
                "backend": found.backend,
                "gpu_server": found.gpu,
                "telegram_bot": bot,
                "local_telegram": telegram,
                "sketch engine": found.engine,
            }
            await asyncio.sleep(SETTLE_S)
            figures = await _watch({n: p for n, p in processes.items() if p.running})
    print(json.dumps(figures, indent=2))
    RESULTS.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n")


async def _serves(port: int) -> None:
    async with httpx.AsyncClient() as http:

        async def answers() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return (await http.get(f"http://127.0.0.1:{port}/")).status_code == 200
            return False

        await until(answers, "the local Telegram")


async def _watch(processes: dict[str, Process]) -> dict[str, Any]:
    percents = await asyncio.gather(
        *(cpu_percent([process.pid], WATCH_S) for process in processes.values())
    )
    each = {
        name: {"cpu_percent": round(percent, 2), "memory_mb": round(memory_mb(process.pid), 1)}
        for (name, process), percent in zip(processes.items(), percents, strict=True)
    }
    ours = [figures for name, figures in each.items() if name != "sketch engine"]
    return {
        "each": each,
        "cpu_percent": round(sum(figures["cpu_percent"] for figures in each.values()), 2),
        "memory_without_engine_mb": round(sum(figures["memory_mb"] for figures in ours), 1),
        "load_average": os.getloadavg()[0],
    }


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
