"""Processes of this host as /proc shows them: whose they are, what holds a port, ending them."""

import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

POLL_S = 0.05


def command_of(pid: int) -> list[str]:
    """The command line of a living process; empty when there is none (a zombie has none)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Whether a process still holds anything; one that only waits for its parent does not.

    Its command line is no sign: an ending process loses that before its ports.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def read_pid(pid_file: Path) -> int | None:
    """The number in a PID file, or None when there is no such file or no number in it."""
    try:
        return int(pid_file.read_text())
    except (OSError, ValueError):
        return None


def end(pid: int, grace_s: float) -> None:
    """Ask a process to end, wait `grace_s`, then kill it; returns when it is gone."""
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        if wait_gone([pid], wait_s):
            return


def wait_gone(pids: Sequence[int], timeout_s: float) -> bool:
    """Whether every process ended within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def port_is_free(address: str, port: int) -> bool:
    """Whether a server could listen on `address`:`port` now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def port_owner(port: int) -> str:
    """Who listens on `port`, for people: "process 12 (nginx)", or "another program"."""
    inodes = _listening_inodes(port)
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.removeprefix("socket:[").removesuffix("]") in inodes:
            pid = int(entry.parts[2])
            return f"process {pid} ({' '.join(command_of(pid))[:80]})"
    return "another program"


def _listening_inodes(port: int) -> set[str]:
    listen_state, found = "0A", set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            local, state, inode = (row.split()[column] for column in (1, 3, 9))
            if state == listen_state and int(local.rsplit(":", 1)[1], 16) == port:
                found.add(inode)
    return found
