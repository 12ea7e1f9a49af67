"""Kill services that hang, so that the supervisor starts them again.

`python -m infra.supervisor.watch RUN_DIR` reads from the spec of each service where it answers
while it works (`live`: host, port, path). A service hangs when it has answered before and then
accepts connections without answering. One that does not listen is starting or has ended, which is
the supervisor's concern. ComfyUI is watched by the GPU server, which knows a long node from a hang.
"""

import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.supervisor.processes import command_of, read_pid

_INTERVAL_S = 5.0
_ANSWER_TIMEOUT_S = 5.0
_MISSES = 3
"""Consecutive missed answers before a service counts as hung (25 to 30 s)."""


@dataclass
class _Watched:
    """What is known of one service since it was started as `pid`."""

    pid: int | None = None
    has_answered: bool = False
    misses: int = 0

    def hangs(self, spec: dict[str, Any]) -> bool:
        """Probe the service once and return whether it counts as hung."""
        pid = read_pid(Path(spec["pid_file"]))
        if pid != self.pid:
            self.pid, self.has_answered, self.misses = pid, False, 0
        if pid is None or command_of(pid) != spec["command"]:
            return False
        try:
            answers = _answers(*spec["live"])
        except TimeoutError:
            self.misses += self.has_answered
        except OSError:
            self.misses = 0
        else:
            self.has_answered, self.misses = self.has_answered or answers, 0
        return self.misses >= _MISSES


def _answers(host: str, port: int, path: str) -> bool:
    """Return whether an answer begins; raise TimeoutError when nothing comes in time."""
    with socket.create_connection((host, port), timeout=_ANSWER_TIMEOUT_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return bool(connection.recv(1))


def _specs(run_dir: Path) -> dict[str, dict[str, Any]]:
    """Read the specs of the services that say where they answer; they change at run time."""
    specs = {}
    for file in run_dir.glob("*.json"):
        try:
            spec = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(spec, dict) and spec.get("live"):
            specs[file.stem] = spec
    return specs


def watch(run_dir: Path) -> None:
    """Probe every service at an interval, without end."""
    watched: dict[str, _Watched] = {}
    while True:
        for name, spec in _specs(run_dir).items():
            service = watched.setdefault(name, _Watched())
            if service.hangs(spec) and service.pid is not None:
                event = {"event": "hung_service_killed", "service": name, "pid": service.pid}
                print(json.dumps(event), flush=True)
                with suppress(ProcessLookupError):
                    os.kill(service.pid, signal.SIGKILL)
                service.misses = 0
        time.sleep(_INTERVAL_S)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
