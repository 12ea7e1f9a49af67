"""The catalogue as its folders have it now: they are watched, and taken up once they are quiet.

Looking at the times of files works on network volumes and mounted folders too, where the kernel
tells nobody of changes that others make; a look at a hundred files takes a millisecond.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from workflows.catalog import Catalog

log = structlog.get_logger()

_LOOK_S = 0.5
_LOOKS_SHARE = 20
"""Pauses between looks are at least this many times as long as a look."""
_QUIET_S = 1.0
"""How long files must stay as they are: an editor saves in steps, and copies take time."""
_LOSS_QUIET_S = 2.5
"""The same before a style goes out of service: the rest of a copy may be on its way."""
_DEPTH = 2
"""Folders below that of the modes: a mode, and what it keeps its graphs in."""

Trace = tuple[str, int, int, int]
Traces = frozenset[Trace]


class LiveCatalog:
    """Holds the catalogue. Only `run` changes it; everyone else reads `current`, once per request.

    `load` reads it from Easel's own folder and `folders`.
    """

    def __init__(self, load: Callable[[], Catalog], *folders: Path) -> None:
        self._load = load
        self._folders = (Path(__file__).parent, *folders)
        self._followers: list[Callable[[Catalog], None]] = []
        self._known = _traces(self._folders)  # before they are read: later changes are seen
        self._current = load()

    @property
    def current(self) -> Catalog:
        return self._current

    def follow(self, follower: Callable[[Catalog], None]) -> None:
        """Call `follower` with the catalogue, now and after every change."""
        self._followers.append(follower)
        follower(self._current)

    async def run(self) -> None:
        """Watch the folders until cancelled."""
        seen, since, pause_s = self._known, time.monotonic(), _LOOK_S
        while True:
            await asyncio.sleep(pause_s)
            began = time.monotonic()
            found = await asyncio.to_thread(_traces, self._folders)
            now = time.monotonic()
            pause_s = max(_LOOK_S, (now - began) * _LOOKS_SHARE)
            if found != seen:
                seen, since = found, now
            elif seen != self._known and await self._take_up(now - since):
                self._known = seen

    async def _take_up(self, quiet_s: float) -> bool:
        """Read the folders if they are quiet for long enough. Return whether that is done."""
        if quiet_s < _QUIET_S:
            return False
        try:
            read = await asyncio.to_thread(self._load)
            if quiet_s < _LOSS_QUIET_S and _styles(self._current) - _styles(read):
                return False
            if read != self._current:
                _log_changes(self._current, read)
                self._current = read
                for follower in self._followers:
                    follower(read)
        except Exception as error:  # a fault of reading must not end the watch for good
            log.exception("modes_not_read", error=type(error).__name__)
        return True


def _styles(catalog: Catalog) -> set[tuple[str, str]]:
    return {(mode.name, style) for mode in catalog for style in mode.styles}


def _log_changes(before: Catalog, after: Catalog) -> None:
    both = before.modes.keys() & after.modes.keys()
    log.info(
        "modes_changed",
        added=sorted(after.modes.keys() - both),
        changed=sorted(name for name in both if before.modes[name] != after.modes[name]),
        gone=sorted(before.modes.keys() - both),
        out_of_service=sorted(after.out_of_service()),
    )


def _traces(folders: tuple[Path, ...]) -> Traces:
    """Return what changes whenever a file of a mode does."""
    return frozenset(trace for folder in folders for trace in _below(str(folder), _DEPTH))


def _below(folder: str, depth: int) -> Iterator[Trace]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith((".", "_")):
                    continue
                if entry.name.endswith((".toml", ".json")):
                    yield _trace(entry)
                elif depth and entry.is_dir():
                    yield from _below(entry.path, depth - 1)
    except OSError as error:
        yield folder, error.errno or 0, 0, 0


def _trace(entry: os.DirEntry[str]) -> Trace:
    try:
        stat = entry.stat()
    except OSError as error:
        return entry.path, error.errno or 0, 0, 0
    # The second time changes with permissions and with a copy that keeps the first.
    return entry.path, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size
