"""Model files on this host's disk: which are installed, and checking that they are what they say.

A file that was checked gets a record beside it (`NAME.ok`: size, mtime, hash). While file and
record agree it counts as installed, so that a start reads no weights.
"""

import hashlib
import json
import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from gpu_server.models.manifest import Manifest, ModelFile, load_manifest

CHUNK_BYTES = 1 << 20

Progress = Callable[[ModelFile, int], None]
"""Told the file and how many of its bytes are done."""


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class State(StrEnum):
    """What is known of a file without reading it whole."""

    INSTALLED = "installed"
    """There, and its hash was right when it was last changed."""
    UNVERIFIED = "unverified"
    """There with the right size; its hash has not been compared."""
    WRONG_SIZE = "wrong_size"
    PARTIAL = "partial"
    """Being fetched, or an interrupted `pull` can go on."""
    MISSING = "missing"


def installed(models_dir: Path, manifest: Manifest | None = None) -> dict[str, State]:
    """The state of every file of the manifest, by id; looks at sizes and records only."""
    manifest = manifest or load_manifest()
    return {file.id: state_of(models_dir, file) for file in manifest.files}


def state_of(models_dir: Path, file: ModelFile) -> State:
    path = models_dir / file.dest
    try:
        found = path.stat()
    except OSError:
        return State.PARTIAL if _has_begun(part_of(path)) else State.MISSING
    if found.st_size != file.size:
        return State.WRONG_SIZE
    recorded = _read_record(path) == _record(found, file.sha256)
    return State.INSTALLED if recorded else State.UNVERIFIED


def _has_begun(part: Path) -> bool:
    try:
        return part.stat().st_size > 0
    except OSError:
        return False


def part_of(path: Path) -> Path:
    """Where the beginning of a file is kept while it is fetched."""
    return path.with_name(f"{path.name}.part")


def verify(models_dir: Path, file: ModelFile, progress: Progress) -> bool:
    """Hash an existing file whole and record the outcome; returns whether it is right."""
    path = models_dir / file.dest
    digest = hashlib.sha256()
    hash_file(path, digest, file, progress)
    if digest.hexdigest() != file.sha256:
        record_of(path).unlink(missing_ok=True)
        return False
    write_record(path, file)
    return True


def hash_file(path: Path, digest: Hash, file: ModelFile, progress: Progress) -> None:
    """Feed the bytes of `path` to `digest`, in pieces."""
    done = 0
    with path.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            progress(file, done)


def record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.ok")


def write_record(path: Path, file: ModelFile) -> None:
    """Note that `path`, as it is now, has the hash it should have."""
    record = record_of(path)
    fresh = record.with_name(f"{record.name}.new")
    fresh.write_text(json.dumps(_record(path.stat(), file.sha256)))
    fresh.replace(record)


def _record(found: os.stat_result, sha256: str) -> dict[str, Any]:
    return {"size": found.st_size, "mtime_ns": found.st_mtime_ns, "sha256": sha256}


def _read_record(path: Path) -> object:
    try:
        return json.loads(record_of(path).read_text())
    except (OSError, ValueError):
        return None
