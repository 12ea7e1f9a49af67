"""What all services together take while nobody asks for anything.

CPU in percent of one core over half a minute; memory is the proportional share (PSS), in MB.
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.report import finish, machine, parser
from bench.services import cpu_percent, memory_mb, running_stack, serves
from tests.backend.processes import Process, free_ports, started

SETTLE_S = 10.0
WATCH_S = 30.0
ENGINE = "sketch engine"


async def measure() -> dict[str, Any]:
    found = {"machine": machine()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running_stack(folder) as stack:
            telegram, bot = _chat(folder, stack.backend.url)
            async with started(telegram, bot):
                await serves(f"http://127.0.0.1:{telegram.environment['LOCAL_TELEGRAM_PORT']}/")
                await asyncio.sleep(SETTLE_S)
                return found | await _watch(
                    {
                        "backend": stack.backend,
                        "gpu_server": stack.gpu,
                        "telegram_bot": bot,
                        "local_telegram": telegram,
                        ENGINE: stack.engine,
                    }
                )


def _chat(folder: Path, backend_url: str) -> tuple[Process, Process]:
    """The local Telegram and the bot."""
    (port,) = free_ports(1)
    own = {"EASEL_DATA_DIR": str(folder), "LOCAL_TELEGRAM_PORT": str(port)}
    peers = {"BOT_API_BASE_URL": f"http://127.0.0.1:{port}/bot", "BOT_BACKEND_URL": backend_url}
    telegram = Process("telegram_bot.local", [], folder / "telegram.log", own)
    return telegram, Process("telegram_bot", [], folder / "bot.log", own | peers)


async def _watch(processes: dict[str, Process]) -> dict[str, Any]:
    percents = await asyncio.gather(*(cpu_percent(p.pid, WATCH_S) for p in processes.values()))
    each = {
        name: {"cpu_percent": percent, "memory_mb": memory_mb(process.pid)}
        for (name, process), percent in zip(processes.items(), percents, strict=True)
    }
    return {
        "each": each,
        "cpu_percent": sum(one["cpu_percent"] for one in each.values()),
        "memory_without_engine_mb": sum(
            one["memory_mb"] for name, one in each.items() if name != ENGINE
        ),
    }


def main() -> int:
    options = parser("idle", __doc__).parse_args()
    return finish("idle", asyncio.run(measure()), options.output)


if __name__ == "__main__":
    sys.exit(main())
