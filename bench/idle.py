"""What all that `./startup.sh start` runs takes while nobody asks for anything.

CPU in percent of one core over half a minute; memory is the proportional share (PSS), in MB. With
the supervisor, and the local Telegram, which is there until the bot has a token.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import finish, machine, parser
from bench.services import cpu_percent, memory_mb
from bench.startup import own_environment, startup_sh

SETTLE_S = 10.0
WATCH_S = 30.0
ENGINE = "comfyui"


def measure() -> dict[str, Any]:
    found = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        environment = own_environment(folder)
        try:
            startup_sh(environment, "start")
            time.sleep(SETTLE_S)
            files = sorted(Path(environment["EASEL_RUN_DIR"]).glob("*.pid"))
            pids = {file.stem: int(file.read_text()) for file in files}
            return found | asyncio.run(_watch(pids))
        finally:
            startup_sh(environment, "stop")


async def _watch(pids: dict[str, int]) -> dict[str, Any]:
    percents = await asyncio.gather(*(cpu_percent(pid, WATCH_S) for pid in pids.values()))
    each = {
        name: {"cpu_percent": percent, "memory_mb": memory_mb(pid)}
        for (name, pid), percent in zip(pids.items(), percents, strict=True)
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
    return finish("idle", measure(), options.output)


if __name__ == "__main__":
    sys.exit(main())
