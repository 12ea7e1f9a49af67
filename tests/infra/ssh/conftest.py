"""A pod on loopback: an ordinary SSH server, a gateway, and a checkout with a startup.sh."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.infra.ssh import sshd

PROGRAM = Path(__file__).resolve().parents[3] / "infra" / "ssh_manager.py"

_OPERATORS_OWN = ("SSH_AUTH_SOCK", "RUNPOD_API_KEY", "EASEL_RUNPOD_API")

STARTUP = """#!/bin/bash
# stands in for Easel's startup.sh: echoes its arguments
cd "$(dirname "$0")" || exit
case $1 in
  status)
    if [ "${2:-}" = --json ]; then echo '{"services": [{"name": "backend", "ready": false}]}'
    else echo "backend  RUNNING  not ready"; fi
    exit 3 ;;
  logs)
    follow= lines=10 service=all; shift
    while [ $# -gt 0 ]; do
      case $1 in -f) follow=-F ;; -n) shift; lines=$1 ;; *) service=$1 ;; esac; shift
    done
    exec tail -n "$lines" $follow "$service.log" ;;
  models)
    if [ "${3:-}" = --json ]; then echo "Setting up"; echo '{"models": []}'
    else echo "$*"; exit 3; fi ;;
  restart) if [ -e fails ]; then echo "backend: FATAL" >&2; exit 3; fi; echo "restart ${*:2}" ;;
  *) echo "$*" ;;
esac
"""


@dataclass
class Pod:
    """A target called `pod` and the program that reaches it."""

    folder: Path
    direct: sshd.Sshd | None
    gateway: sshd.Sshd | None
    settings: dict[str, object] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def workdir(self) -> Path:
        return self.folder / "easel"

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config.json"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def environ(self) -> dict[str, str]:
        """Return this environment with a configuration and a home of the test's own."""
        own = {"EASEL_SSH_CONFIG": str(self.config), "HOME": str(self.folder)}
        ours = {name: value for name, value in os.environ.items() if name not in _OPERATORS_OWN}
        return {**ours, **own}

    def route(self, server: sshd.Sshd) -> dict[str, object]:
        return {
            "host": "127.0.0.1",
            "port": server.port,
            "user": server.user,
            "key": str(server.user_key),
        }

    def write(self, **targets: dict[str, object]) -> None:
        """Write the configuration, by default for one target; trust both servers."""
        servers = {"direct": self.direct, "proxy": self.gateway}
        present = {via: server for via, server in servers.items() if server is not None}
        if not targets:
            routes = {via: self.route(server) for via, server in present.items()}
            targets = {"pod": {**routes, "workdir": str(self.workdir), **self.settings}}
        self.config.write_text(json.dumps({"targets": targets}))
        self.known_hosts.write_text("".join(s.known_hosts_line for s in present.values()))

    def popen(
        self,
        *arguments: str,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        stdin: int = subprocess.PIPE,
        before: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        """Start easel-ssh; it ends with the test at the latest."""
        process = subprocess.Popen(
            [*before, sys.executable, str(PROGRAM), *arguments],
            env={**self.environ, **(env or {})},
            cwd=cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.processes.append(process)
        return process

    def clear(self) -> None:
        """Kill what a failed test left running, and close its pipes."""
        for process in self.processes:
            process.kill()
            with process:
                pass

    def run(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run easel-ssh to its end."""
        source = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        process = self.popen(*arguments, env=env, stdin=source, cwd=cwd)
        out, err = process.communicate(stdin, timeout=90)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[sshd.Sshd, sshd.Sshd]]:
    """Start an ordinary server and a gateway that accepts the same key."""
    if (reason := sshd.missing()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("sshd")
    key = sshd.new_key(folder / "user_key")
    direct = sshd.start(folder / "direct", key, gateway=False)
    gateway = sshd.start(folder / "gateway", key, gateway=True)
    yield direct, gateway
    direct.stop()
    gateway.stop()


@pytest.fixture
def pod(servers: tuple[sshd.Sshd, sshd.Sshd], tmp_path: Path) -> Iterator[Pod]:
    """Provide a host with a checkout and both routes to it, trusted."""
    host = Pod(tmp_path, *servers)
    host.workdir.mkdir()
    (host.workdir / "startup.sh").write_text(STARTUP)
    (host.workdir / "startup.sh").chmod(0o755)
    host.write()
    yield host
    host.clear()


@pytest.fixture(params=["direct", "proxy"])
def via(request: pytest.FixtureRequest) -> str:
    """Use each route in turn; the gateway only if sshd gives this user a terminal."""
    if request.param == "proxy":
        request.getfixturevalue("terminals")
    return str(request.param)


@pytest.fixture
def terminals(servers: tuple[sshd.Sshd, sshd.Sshd]) -> None:
    """Skip the test if sshd gives this user no terminal."""
    if not sshd.gives_terminals(servers[1]):
        pytest.skip("sshd cannot allocate a PTY for this user (usermod -aG tty, or run as root)")


@pytest.fixture
def start_sshd(tmp_path: Path) -> Iterator[Callable[..., sshd.Sshd]]:
    """Start further servers, which end with the test."""
    started: list[sshd.Sshd] = []

    def start(name: str, key: Path, **settings: Any) -> sshd.Sshd:
        started.append(sshd.start(tmp_path / name, key, gateway=False, **settings))
        return started[-1]

    yield start
    for server in started:
        server.stop()
