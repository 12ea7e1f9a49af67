"""The part of a model file that has arrived so far, on disk; and why the rest does not.

DownloadError ends a download, Transient is worth another try.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from gpu_server.models.files import part_of
from gpu_server.models.manifest import ModelFile


class DownloadError(Exception):
    """A file cannot be fetched; the message says which, why and what to do."""


class NoSpace(DownloadError):
    """The disk is too small for the files to fetch."""


class Transient(Exception):
    """One attempt failed; the server asked to wait `pause_s` before the next.

    After `tries` failures in a row, if set, `advice` tells what to do.
    """

    def __init__(
        self,
        message: str,
        pause_s: float = 0.0,
        advice: str = "The part that arrived is kept; run the same command again to resume.",
        tries: int | None = None,
    ) -> None:
        super().__init__(message)
        self.pause_s, self.advice, self.tries = pause_s, advice, tries


class WrongContent(Transient):
    """The bytes received are not those of the file, so the part is useless."""


class Part:
    """`NAME.part`, locked by this process, and the server's ETag for it in `NAME.part.etag`."""

    def __init__(self, target: Path, content: FileIO) -> None:
        self.path = part_of(target)
        self._target, self._content = target, content
        self._etag = self.path.with_name(f"{self.path.name}.etag")

    @property
    def size(self) -> int:
        return os.fstat(self._content.fileno()).st_size

    @property
    def etag(self) -> str:
        """The kept ETag, or "" without a strong one: only those compare (RFC 9110, 13.1.5)."""
        try:
            etag = self._etag.read_text().strip()
        except OSError:
            return ""
        return "" if etag.startswith("W/") else etag

    @etag.setter
    def etag(self, etag: str) -> None:
        self._etag.write_text(etag)

    def append(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:  # an unbuffered write may be short
            rest = rest[self._content.write(rest) :]

    def clear(self) -> None:
        self._content.truncate(0)

    def discard(self) -> None:
        self.path.unlink()
        self._etag.unlink(missing_ok=True)

    def put_in_place(self) -> None:
        """Make the part the file itself, durably."""
        os.fsync(self._content.fileno())
        self.path.replace(self._target)
        self._etag.unlink(missing_ok=True)
        _sync_directory(self._target.parent)


@contextmanager
def opened(target: Path, file: ModelFile) -> Iterator[Part]:
    """Open and lock the part, unbuffered so that each chunk survives a crash of the program.

    Raises DownloadError: the disk is full, or another program has the part.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part_of(target).open("ab", buffering=0) as content:
            if not _locked(content, part_of(target)):
                raise DownloadError(f"{file.id} is being fetched by another program.")
            yield Part(target, content)
    except OSError as error:
        raise _disk_error(target, file, error) from error


def _locked(content: FileIO, path: Path) -> bool:
    """Lock the part; False if another program has it, or has just put it in place."""
    try:
        fcntl.flock(content, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(content.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_error(target: Path, file: ModelFile, error: OSError) -> DownloadError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoSpace(
            f"{file.id}: the disk of {target.parent} is full. Free some space and run the same "
            "command again; the part that arrived is kept."
        )
    return DownloadError(f"{file.id}: {target} cannot be written: {error.strerror}.")
