"""Give each test a host of its own: directories, free ports, and stand-ins for the services."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from infra.supervisor.configuration import local_directory
from infra.supervisor.host import read_host
from infra.supervisor.processes import command_of, wait_gone
from infra.supervisor.services import service_table
from infra.supervisor.status import Status, prober, read_status
from infra.supervisor.supervisord import Supervisord

ROOT = Path(__file__).parents[3]
STAND_IN = Path(__file__).with_name("stand_in.py")
T = TypeVar("T")


@dataclass
class LabHost:
    """A host whose commands run as a user runs them, in processes of their own."""

    path: Path
    table: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def add(self, name: str, *options: str, **fields: Any) -> int:
        """Put a stand-in into the service table and return its port."""
        port = free_port()
        command = [sys.executable, str(STAND_IN), str(self.path / name), str(port), *options]
        url = f"http://127.0.0.1:{port}/readyz"
        row = {"name": name, "command": command, "ready_url": url, "port": port, "stop_s": 3}
        self.table.append(row | fields)
        return port

    def popen(self, *argv: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            (sys.executable, "-m", "infra.supervisor", *argv),
            cwd=ROOT,
            env=self._write(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        process = self.popen(*argv)
        out, err = process.communicate(timeout=90)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def status(self) -> dict[str, Status]:
        """Return what `status` shows, by service."""
        host = read_host(ROOT, self._write())
        with prober() as client:
            rows = read_status(host, service_table(host), Supervisord(host).processes(), client)
        return {row.name: row for row in rows}

    def _write(self) -> dict[str, str]:
        table, whole = self.path / "table.json", self.path / "table.part"
        whole.write_text(json.dumps(self.table))
        whole.replace(table)  # a command that was started may be reading it
        own = {
            f"EASEL_{name.upper()}_DIR": str(self.path / name) for name in ("data", "log", "run")
        }
        return os.environ | own | {"EASEL_SERVICE_TABLE": str(table)} | self.environment

    def clear(self) -> None:
        """Kill what a test left running, without the launcher."""
        for process in self.processes:
            process.kill()
            with process:  # closes its pipes
                pass
        left = [*self.path.glob("run/supervisord.pid"), *self.path.rglob("*.pid")]
        for pid in (int(file.read_text()) for file in left if file.exists()):
            if str(self.path) in " ".join(command_of(pid)):
                os.kill(pid, signal.SIGKILL)
                wait_gone(pid, 5)
        private = local_directory(read_host(ROOT, self._write()))
        if not private.is_relative_to(self.path):  # in /tmp, as the path of its own is too long
            shutil.rmtree(private)

    def pid(self, name: str) -> int:
        return int((self.path / "run" / f"{name}.pid").read_text())


def until(condition: Callable[[], T | None], timeout_s: float = 60) -> T:
    """Return what `condition` returns as soon as that is true."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabHost]:
    host = LabHost(tmp_path)
    yield host
    host.clear()


@pytest.fixture(scope="session")
def shellcheck() -> str:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed")
    return program
