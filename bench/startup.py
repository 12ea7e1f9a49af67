"""Times `./startup.sh` on a set-up checkout: `python -m bench.startup [--repeat N] [--json]`.

Target: stopped to ready in 6 s. The services run on free ports with a data directory of their
own, so that nothing that runs is disturbed.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET_S = 6.0
PORTS = ("COMFYUI_PORT", "GPU_PORT", "BACKEND_PORT", "LOCAL_TELEGRAM_PORT")


def _environment(folder: str) -> dict[str, str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = {name: str(sock.getsockname()[1]) for name, sock in zip(PORTS, sockets, strict=True)}
    for sock in sockets:
        sock.close()
    own = {f"EASEL_{name}_DIR": f"{folder}/{name.lower()}" for name in ("DATA", "LOG", "RUN")}
    peers = {
        "BACKEND_GPU_SERVERS": f"http://127.0.0.1:{ports['GPU_PORT']}",
        "BOT_BACKEND_URL": f"http://127.0.0.1:{ports['BACKEND_PORT']}",
    }
    return os.environ | own | ports | peers


def _seconds(environment: dict[str, str], command: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        (str(ROOT / "startup.sh"), command), env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - began


def measure(repeat: int) -> dict[str, dict[str, float]]:
    """Median and worst seconds of a start from stopped, of one when all runs, and of a stop."""
    times: dict[str, list[float]] = {"start": [], "start again": [], "stop": []}
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(folder)
        try:
            for _ in range(repeat + 1):
                for name, taken in times.items():
                    taken.append(_seconds(environment, name.split()[0]))
        finally:
            _seconds(environment, "stop")
    # The first round also compiles and creates the database.
    return {
        name: {"p50_s": statistics.median(taken[1:]), "max_s": max(taken[1:])}
        for name, taken in times.items()
    }


def main() -> int:
    """Print the table; exit 1 when a start misses the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    table = measure(arguments.repeat)
    if arguments.json:
        print(json.dumps(table, indent=2))
    else:
        for name, row in table.items():
            print(f"{name:<14} p50 {row['p50_s']:6.2f} s   max {row['max_s']:6.2f} s")
    return int(table["start"]["p50_s"] > TARGET_S)


if __name__ == "__main__":
    sys.exit(main())
