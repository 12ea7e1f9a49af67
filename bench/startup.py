"""Times `./startup.sh` on a set-up checkout, and a killed service's way back under the supervisor.

`python -m bench.startup [--repeat N] [--json]`. Targets: stopped to ready in 6 s; from `kill -9` of
a service until the backend is ready to draw again 5 s. The services run on free ports with a data
directory of their own, so that nothing that runs is disturbed.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
TARGETS_S = {"start": 6.0, "kill gpu_server": 5.0, "kill backend": 5.0}
PORTS = ("COMFYUI_PORT", "GPU_PORT", "BACKEND_PORT", "LOCAL_TELEGRAM_PORT")
KILLED = {"gpu_server": "GPU_PORT", "backend": "BACKEND_PORT"}
SETTLED_S = 6.0  # what ends within 5 s of its start waits for its next try
GIVEN_UP_S = 60.0


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


def _killed_to_ready(environment: dict[str, str], service: str) -> float:
    """Seconds until the service, as another process, and the backend say that they are ready."""
    pid_file = Path(environment["EASEL_RUN_DIR"], f"{service}.pid")
    old = pid_file.read_text()
    time.sleep(SETTLED_S)
    began = time.perf_counter()
    os.kill(int(old), signal.SIGKILL)
    with httpx.Client(trust_env=False, timeout=1.0) as client:
        ports = {environment[KILLED[service]], environment["BACKEND_PORT"]}
        while pid_file.read_text() == old or not all(_is_ready(client, port) for port in ports):
            if time.perf_counter() - began > GIVEN_UP_S:
                raise TimeoutError(f"{service} did not come back within {GIVEN_UP_S:.0f} s")
            time.sleep(0.02)
    return time.perf_counter() - began


def _is_ready(client: httpx.Client, port: str) -> bool:
    try:
        return client.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def measure(repeat: int) -> dict[str, dict[str, float]]:
    """Median and worst seconds of a start from stopped, of one when all runs, of the return of
    killed services, and of a stop."""
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(folder)
        try:
            # The first round also compiles and creates the database.
            rounds = [_round(environment) for _ in range(repeat + 1)][1:]
        finally:
            _seconds(environment, "stop")
    times = {name: [taken[name] for taken in rounds] for name in rounds[0]}
    return {
        name: {"p50_s": statistics.median(taken), "max_s": max(taken)}
        for name, taken in times.items()
    }


def _round(environment: dict[str, str]) -> dict[str, float]:
    return {
        "start": _seconds(environment, "start"),
        "start again": _seconds(environment, "start"),
        **{f"kill {service}": _killed_to_ready(environment, service) for service in KILLED},
        "stop": _seconds(environment, "stop"),
    }


def main() -> int:
    """Print the table; exit 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    table = measure(arguments.repeat)
    if arguments.json:
        print(json.dumps(table, indent=2))
    else:
        for name, row in table.items():
            print(f"{name:<16} p50 {row['p50_s']:6.2f} s   max {row['max_s']:6.2f} s")
    return int(any(table[name]["p50_s"] > target for name, target in TARGETS_S.items()))


if __name__ == "__main__":
    sys.exit(main())
