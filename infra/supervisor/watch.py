"""Kills a service that answered before and now answers nothing; the supervisor starts it again.

`python -m infra.supervisor.watch RUN_DIR`, where each service's JSON file says at which address
it answers while it lives (`live`: host, port, path). One that does not listen is no concern of
ours: it is starting, or has ended. ComfyUI is watched by the GPU server, which knows a long node
from a hang.
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

EVERY_S = 5.0
ANSWER_S = 5.0
MISSES = 3
"""So often in a row it must not answer: nothing short of half a minute is called a hang."""


@dataclass
class Watched:
    """One service; `has_answered` since it was started as `pid`."""

    pid: int | None = None
    has_answered: bool = False
    misses: int = 0

    def hangs(self, spec: dict[str, Any]) -> bool:
        """Look once."""
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
        return self.misses >= MISSES


def _answers(host: str, port: int, path: str) -> bool:
    """Whether a byte of an answer comes; raises TimeoutError, or OSError where nobody listens."""
    with socket.create_connection((host, port), timeout=ANSWER_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return bool(connection.recv(1))


def _specs(run_dir: Path) -> dict[str, dict[str, Any]]:
    """What runs here now, by service: read anew, as services join and leave."""
    found = {}
    for file in run_dir.glob("*.json"):
        try:
            spec = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(spec, dict) and spec.get("live"):
            found[file.stem] = spec
    return found


def watch(run_dir: Path) -> None:
    """Look at every service again and again, for ever."""
    watched: dict[str, Watched] = {}
    while True:
        for name, spec in _specs(run_dir).items():
            service = watched.setdefault(name, Watched())
            if service.hangs(spec) and service.pid is not None:
                said = {"event": "hung", "service": name, "pid": service.pid}
                print(json.dumps(said), flush=True)
                with suppress(ProcessLookupError):
                    os.kill(service.pid, signal.SIGKILL)
                service.misses = 0
        time.sleep(EVERY_S)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
