"""Measure everything that `./startup.sh start` runs, at rest.

CPU is in percent of one core over half a minute, memory the proportional share (PSS) in MB. This
includes the supervisor, and the local Telegram, which runs until the bot has a token.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.harness.services import cpu_percent, memory_mb
from bench.report import finish, machine, parser
from bench.startup import own_environment, startup_sh

_SETTLE_S = 10.0  # how long to wait for start-up work to end
_WATCH_S = 30.0
_ENGINE = "comfyui"


def measure() -> dict[str, Any]:
    figures = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        environment = own_environment(folder)
        try:
            startup_sh(environment, "start")
            time.sleep(_SETTLE_S)
            files = sorted(Path(environment["EASEL_RUN_DIR"]).glob("*.pid"))
            pids = {file.stem: int(file.read_text()) for file in files}
            return figures | asyncio.run(_watch(pids))
        finally:
            startup_sh(environment, "stop")


async def _watch(pids: dict[str, int]) -> dict[str, Any]:
    percents = await asyncio.gather(*(cpu_percent(pid, _WATCH_S) for pid in pids.values()))
    services = {
        name: {"cpu_percent": percent, "memory_mb": memory_mb(pid)}
        for (name, pid), percent in zip(pids.items(), percents, strict=True)
    }
    return {
        "each": services,
        "cpu_percent": sum(service["cpu_percent"] for service in services.values()),
        "memory_without_engine_mb": sum(
            service["memory_mb"] for name, service in services.items() if name != _ENGINE
        ),
    }


def main() -> int:
    options = parser("idle", __doc__).parse_args()
    return finish("idle", measure(), options.output)


if __name__ == "__main__":
    sys.exit(main())
