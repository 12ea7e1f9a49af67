"""Measure what `ssh_manager exec` adds to plain `ssh`, and the commands `status` runs.

Both run `true`, alternating, on a loopback sshd, as whole processes: start, connection, login,
command, end. The commands of `status` are the sessions the server opened for it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.report import finish, machine, parser
from tests.infra.ssh import sshd

_PROGRAM = Path(__file__).resolve().parents[1] / "infra" / "ssh_manager.py"


def main() -> int:
    options = parser("ssh", __doc__)
    options.add_argument("--runs", type=int, default=15, help="runs of each command")
    arguments = options.parse_args()
    if (reason := sshd.missing()) is not None:
        sys.exit(f"bench.ssh: {reason}")
    with tempfile.TemporaryDirectory() as folder:
        figures = {"machine": machine(), **_measured(Path(folder), arguments.runs)}
    return finish("ssh", figures, arguments.output)


def _measured(folder: Path, runs: int) -> dict[str, float]:
    key = sshd.new_key(folder / "user_key")
    direct = sshd.start(folder / "direct", key, gateway=False)
    gateway = sshd.start(folder / "gateway", key, gateway=True)
    try:
        return _figures(folder, direct, gateway, runs)
    finally:
        direct.stop()
        gateway.stop()


def _figures(folder: Path, direct: sshd.Sshd, gateway: sshd.Sshd, runs: int) -> dict[str, float]:
    manager = _manager(folder, direct, gateway)
    commands = {
        "ssh_ms": _plain(folder, direct, "true"),
        "exec_ms": [*manager, "exec", "--", "true"],
        "status_ms": [*manager, "status"],
        "proxy_exec_ms": [*manager, "--via", "proxy", "exec", "--", "true"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs + 1):
        for name, command in commands.items():
            times[name].append(_timed(command, folder))
    figures = {name: round(statistics.median(values[1:]), 1) for name, values in times.items()}
    before = _sessions(direct)
    _timed(commands["status_ms"], folder)
    return {
        **figures,
        "added_ms": round(figures["exec_ms"] - figures["ssh_ms"], 1),
        "status_commands": _sessions(direct) - before,
        "runs": runs,
    }


def _manager(folder: Path, direct: sshd.Sshd, gateway: sshd.Sshd) -> list[str]:
    checkout = folder / "easel"
    checkout.mkdir()
    (checkout / "startup.sh").write_text("#!/bin/sh\necho ready\n")
    (checkout / "startup.sh").chmod(0o755)
    (folder / "known_hosts").write_text(direct.known_hosts_line + gateway.known_hosts_line)
    routes = {
        via: {"host": "127.0.0.1", "port": s.port, "user": s.user, "key": str(s.user_key)}
        for via, s in (("direct", direct), ("proxy", gateway))
    }
    targets = {"pod": {**routes, "workdir": str(checkout)}}
    (folder / "config.json").write_text(json.dumps({"targets": targets}))
    return [sys.executable, str(_PROGRAM)]


def _plain(folder: Path, server: sshd.Sshd, command: str) -> list[str]:
    options = ["-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]
    known = ["-o", f"UserKnownHostsFile={folder / 'known_hosts'}"]
    login = ["-i", str(server.user_key), "-p", str(server.port), f"{server.user}@127.0.0.1"]
    return ["ssh", *options, *known, *login, command]


def _timed(command: list[str], folder: Path) -> float:
    environ = {**os.environ, "EASEL_SSH_CONFIG": str(folder / "config.json")}
    began = time.perf_counter()
    subprocess.run(
        command, check=True, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    return (time.perf_counter() - began) * 1000


def _sessions(server: sshd.Sshd) -> int:
    """Count the commands and shells the server has started."""
    return (server.folder / "sshd.log").read_text().count("Starting session:")


if __name__ == "__main__":
    sys.exit(main())
