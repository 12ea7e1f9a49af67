"""Measure how long `./startup.sh` takes once set up, and how soon a killed service is back.

Seconds from stopped to ready, for a start when everything runs, from `kill -9` of a service until
the backend is ready to draw again, and for a stop. The services run on free ports with their own
data directory, so that running services are not disturbed.
"""

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

from bench.report import Figures, finish, machine, parser

_ROOT = Path(__file__).parents[1]
_PORTS = ("COMFYUI_PORT", "GPU_PORT", "BACKEND_PORT", "LOCAL_TELEGRAM_PORT")
_KILLED = {"gpu_server": "GPU_PORT", "backend": "BACKEND_PORT"}
_SETTLE_S = 6.0  # a service that ends within 5 s of its start is restarted with a delay
_TIMEOUT_S = 60.0  # how long to wait for a killed service


def own_environment(folder: str) -> dict[str, str]:
    """Build the environment of a separate host below `folder`, on free ports."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in _PORTS]
    ports = {name: str(sock.getsockname()[1]) for name, sock in zip(_PORTS, sockets, strict=True)}
    for sock in sockets:
        sock.close()
    own = {f"EASEL_{name}_DIR": f"{folder}/{name.lower()}" for name in ("DATA", "LOG", "RUN")}
    peers = {
        "BACKEND_GPU_SERVERS": f"http://127.0.0.1:{ports['GPU_PORT']}",
        "BOT_BACKEND_URL": f"http://127.0.0.1:{ports['BACKEND_PORT']}",
    }
    return os.environ | own | ports | peers


def startup_sh(environment: dict[str, str], command: str) -> float:
    """Run `./startup.sh command`; return the seconds it took."""
    began = time.perf_counter()
    subprocess.run(
        (str(_ROOT / "startup.sh"), command), env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - began


def _killed_to_ready(environment: dict[str, str], service: str) -> float:
    """Measure the seconds until the restarted service and the backend are ready."""
    pid_file = Path(environment["EASEL_RUN_DIR"], f"{service}.pid")
    old = pid_file.read_text()
    time.sleep(_SETTLE_S)
    began = time.perf_counter()
    os.kill(int(old), signal.SIGKILL)
    with httpx.Client(trust_env=False, timeout=1.0) as client:
        ports = {environment[_KILLED[service]], environment["BACKEND_PORT"]}
        while pid_file.read_text() == old or not all(_is_ready(client, port) for port in ports):
            if time.perf_counter() - began > _TIMEOUT_S:
                raise TimeoutError(f"{service} did not come back within {_TIMEOUT_S:.0f} s")
            time.sleep(0.02)
    return time.perf_counter() - began


def _is_ready(client: httpx.Client, port: str) -> bool:
    try:
        return client.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def measure(repeat: int) -> Figures:
    machine_figures = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        environment = own_environment(folder)
        try:
            # Drop the first round, which also compiles and creates the database.
            rounds = [_round(environment) for _ in range(repeat + 1)][1:]
        finally:
            startup_sh(environment, "stop")
    figures = {name: _figures([times[name] for times in rounds]) for name in rounds[0]}
    killed = {service: figures.pop(f"kill {service}") for service in _KILLED}
    return machine_figures | figures | {"killed": killed}


def _figures(times: list[float]) -> dict[str, float]:
    return {"p50_s": statistics.median(times), "max_s": max(times)}


def _round(environment: dict[str, str]) -> dict[str, float]:
    return {
        "start": startup_sh(environment, "start"),
        "start_again": startup_sh(environment, "start"),
        **{f"kill {service}": _killed_to_ready(environment, service) for service in _KILLED},
        "stop": startup_sh(environment, "stop"),
    }


def main() -> int:
    options = parser("startup", __doc__)
    options.add_argument("--repeat", type=int, default=5, help="rounds to measure")
    arguments = options.parse_args()
    return finish("startup", measure(arguments.repeat), arguments.output)


if __name__ == "__main__":
    sys.exit(main())
