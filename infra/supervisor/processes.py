"""Processes and ports of this host."""

import os
import signal
import socket
import time
from pathlib import Path

import psutil

POLL_S = 0.05
_KILL_TIMEOUT_S = 5.0
_COMMAND_LENGTH = 80


def command_of(pid: int) -> list[str]:
    """Return the command line of a process; empty when it has ended, even if it is a zombie."""
    try:
        return psutil.Process(pid).cmdline()
    except (psutil.Error, ValueError):  # a broken PID file may hold a negative number
        return []


def environment_of(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with; empty when that cannot be read."""
    try:
        return dict(psutil.Process(pid).environ())
    except (psutil.Error, OSError):
        return {}


def is_alive(pid: int) -> bool:
    """Return whether a process still holds memory and ports, which a zombie does not.

    Its command line does not tell: an ending process loses that before its ports.
    """
    try:
        status = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return status not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}


def read_pid(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text())
    except (OSError, ValueError):
        return None


def end(pid: int, grace_s: float) -> None:
    """Ask a process to end and kill it after `grace_s`; wait until it is gone."""
    for number, timeout_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _KILL_TIMEOUT_S)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        if wait_gone(pid, timeout_s):
            return


def wait_gone(pid: int, timeout_s: float) -> bool:
    """Wait for a process to end, child or not; return whether it did within `timeout_s`.

    `psutil.Process.wait` would wait for a zombie whose parent never reaps it.
    """
    deadline = time.monotonic() + timeout_s
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def port_is_free(address: str, port: int) -> bool:
    """Return whether a server could listen on `address`:`port` now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def port_owner(port: int) -> str:
    """Name the listener on `port`, for people: "process 12 (nginx)", or "another program"."""
    for connection in psutil.net_connections("tcp"):
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
        if listens and connection.pid is not None:
            command = " ".join(command_of(connection.pid))[:_COMMAND_LENGTH]
            return f"process {connection.pid} ({command})"
    return "another program"
