"""Model files on this host's disk: which are installed, and whether their hashes are right.

A verified file gets a record beside it (`NAME.ok`: size, mtime, hash). While file and record agree
it counts as installed, so that nothing reads the weights to find out.
"""

import hashlib
import json
import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from gpu_server.models.manifest import ModelFile

_CHUNK_BYTES = 1 << 20

Progress = Callable[[ModelFile, int], None]
"""Called with a file and how many of its bytes are done."""


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class State(StrEnum):
    """What can be said about a file without reading all of it."""

    INSTALLED = "installed"
    """Present, unchanged since its hash was verified."""
    UNVERIFIED = "unverified"
    """Present with the right size, but not verified since it changed."""
    WRONG_SIZE = "wrong_size"
    PARTIAL = "partial"
    """Being fetched, or left by an interrupted `pull`, which can be resumed."""
    MISSING = "missing"


def state_of(models_dir: Path, file: ModelFile) -> State:
    path = models_dir / file.dest
    try:
        stat = path.stat()
    except OSError:
        return State.PARTIAL if bytes_arrived(path) else State.MISSING
    if file.size and stat.st_size != file.size:
        return State.WRONG_SIZE
    recorded = _read_record(path) == _record(stat, file.sha256)
    return State.INSTALLED if recorded else State.UNVERIFIED


def bytes_arrived(path: Path) -> int:
    """Return the size of the part of a file."""
    try:
        return part_of(path).stat().st_size
    except OSError:
        return 0


def part_of(path: Path) -> Path:
    """Return where the part of a file that has arrived is kept."""
    return path.with_name(f"{path.name}.part")


def verify(models_dir: Path, file: ModelFile, progress: Progress) -> bool:
    """Hash an existing file, record the outcome and return whether the hash is right."""
    path = models_dir / file.dest
    digest = hashlib.sha256()
    hash_file(path, digest, file, progress)
    if digest.hexdigest() != file.sha256:
        _record_file(path).unlink(missing_ok=True)
        return False
    write_record(path, file)
    return True


def hash_of(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def hash_file(path: Path, digest: Hash, file: ModelFile, progress: Progress) -> None:
    done = 0
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            progress(file, done)


def _record_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.ok")


def write_record(path: Path, file: ModelFile) -> None:
    """Record that `path`, as it is now, has the right hash."""
    record = _record_file(path)
    fresh = record.with_name(f"{record.name}.new")
    fresh.write_text(json.dumps(_record(path.stat(), file.sha256)))
    fresh.replace(record)


def _record(stat: os.stat_result, sha256: str) -> dict[str, Any]:
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256}


def _read_record(path: Path) -> object:
    try:
        return json.loads(_record_file(path).read_text())
    except (OSError, ValueError):
        return None
