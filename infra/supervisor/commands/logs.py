"""`./startup.sh logs`: the end of the services' logs, or what was logged since a time."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from infra.supervisor.host import HostError

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_TIME = re.compile(rb'"ts": "([0-9T:.-]+)Z"')
_HEADING = re.compile(rb"==> .+ <==\n")
_LINES_BEFORE_A_TIME = 1000
"""How many lines at the start of a log may belong to one that went before, such as a traceback."""


def moment(text: str) -> datetime:
    """Return the time meant by `10m` (that long ago) or `2026-11-28T08:00` (in UTC)."""
    try:
        if ago := _AGO.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        when = datetime.fromisoformat(text)
        return when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r}: allowed: 30s, 10m, 2h, 1d, or a time in UTC such as 2026-11-28T08:00"
        ) from None


def show(files: Sequence[Path], lines: int, since: datetime | None, *, follow: bool) -> int:
    """Show the last lines of log files, or those since a time; `follow` goes on for ever."""
    if since is None:
        sys.stdout.flush()
        os.execvp("tail", _tail(files, lines, follow=follow))  # noqa: S606, S607
    timed = [file for file in files if _carries_times(file)]
    for file in set(files) - set(timed):
        print(f"{file.name}: its lines carry no time; see it with -n", file=sys.stderr)
    if not timed:
        raise HostError("No log here says when its lines were written: leave out --since.")
    command = _tail(timed, "+1", follow=follow)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as tail:  # noqa: S603 - fixed program
        try:
            for line in _since(tail.stdout or (), since):
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
        finally:
            tail.terminate()
    return 0


def _tail(files: Sequence[Path], lines: int | str, *, follow: bool) -> list[str]:
    return ["tail", "-n", str(lines), *(["-F"] if follow else []), *map(str, files)]


def _carries_times(file: Path) -> bool:
    with file.open("rb") as log:
        return any(_TIME.search(line) for line in islice(log, _LINES_BEFORE_A_TIME))


def _since(lines: Iterable[bytes], since: datetime) -> Iterator[bytes]:
    """Yield the lines written since then; one without a time belongs to the one before it."""
    threshold = since.replace(tzinfo=None).isoformat().encode()
    heading, shown = b"", False
    for line in lines:
        if _HEADING.fullmatch(line):
            heading, shown = line, False
            continue
        if when := _TIME.search(line):
            shown = when[1] >= threshold
        if shown:
            yield heading + line
            heading = b""
