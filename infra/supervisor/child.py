"""Become a service: die with the supervisor, leave a PID file, then run the command.

supervisord runs it as `python -I -S child.py SPEC`, with the standard library alone so that it
costs a few milliseconds. SPEC is a JSON file: `command`, `env`, `cwd`, `pid_file`.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(spec_file: str) -> None:
    """Replace this process by the service that `spec_file` describes."""
    supervisor = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != supervisor:  # it died before prctl took effect
        sys.exit(1)
    spec = json.loads(Path(spec_file).read_text())
    pid_file = Path(spec["pid_file"])
    fresh = pid_file.with_suffix(".pid.new")
    fresh.write_text(f"{os.getpid()}\n")
    fresh.replace(pid_file)
    os.chdir(spec["cwd"])
    os.execvpe(spec["command"][0], spec["command"], os.environ | spec["env"])  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1])
