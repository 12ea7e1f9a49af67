"""Wait for something outside this process."""

import time
from collections.abc import Callable
from pathlib import Path


def eventually(holds: Callable[[], bool], timeout_s: float = 30) -> bool:
    """Return whether the condition holds before the timeout."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_running(pid: int) -> bool:
    """Return whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
