"""Fetches model files: resumable, checked while they stream, in place only when whole.

The beginning of a file lies in `NAME.part` and the server's ETag for it in `NAME.part.etag`, so
that an interrupted fetch goes on where it was. A part is hashed again before it is continued:
what is on the disk counts, not what was meant to be there.
"""

import errno
import fcntl
import hashlib
import os
import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import httpx
from pydantic import SecretStr

from gpu_server.models.files import (
    Hash,
    Progress,
    State,
    hash_file,
    part_of,
    state_of,
    verify,
    write_record,
)
from gpu_server.models.manifest import ModelFile
from gpu_server.models.safetensors import DamagedModel, check_header

TOKEN_ORIGIN = httpx.URL("https://huggingface.co")
TIMEOUT = httpx.Timeout(60.0, connect=15.0)
LONGEST_PAUSE_S = 60.0
WRONG_CONTENTS = 2  # a wrong whole is fetched once more, in case it broke on the way
MARGIN_BYTES = 256 * 2**20  # a disk filled to the last byte breaks other programs


class DownloadError(Exception):
    """A file cannot be fetched; the message says which, why and what to do."""


class NoSpace(DownloadError):
    """The disk is too small for what is to be fetched."""


class _Passing(Exception):
    """Worth another try; `pause_s` is what the server asked for."""

    def __init__(self, message: str, pause_s: float = 0.0) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class _WrongContent(_Passing):
    """What came is not the file, so its part is worth nothing."""


@dataclass(frozen=True)
class Downloader:
    """Fetches into one directory.

    Args:
        token: Sent to `token_origin` only, and to no host it redirects to.
        tries: How often in a row a file may fail without getting any further.
        pause_s: Before the second try; doubles with each.
    """

    client: httpx.Client
    models_dir: Path
    progress: Progress
    token: SecretStr | None = None
    token_origin: httpx.URL = TOKEN_ORIGIN
    tries: int = 6
    pause_s: float = 1.0

    def pull(self, files: Sequence[ModelFile]) -> list[ModelFile]:
        """Fetch what is not installed; returns what was fetched. Raises DownloadError."""
        wanted = [file for file in files if not self._is_installed(file)]
        self._check_space(wanted)
        for file in wanted:
            self._pull_one(file)
        return wanted

    def _is_installed(self, file: ModelFile) -> bool:
        state = state_of(self.models_dir, file)
        if state is State.UNVERIFIED:
            return verify(self.models_dir, file, self.progress)
        return state is State.INSTALLED

    def _check_space(self, files: Sequence[ModelFile]) -> None:
        self.models_dir.mkdir(parents=True, exist_ok=True)
        parts = (part_of(self.models_dir / file.dest) for file in files)
        there = sum(part.stat().st_size for part in parts if part.exists())
        needed = sum(file.size for file in files) - there
        free = shutil.disk_usage(self.models_dir).free
        if needed > 0 and needed + MARGIN_BYTES > free:
            raise NoSpace(
                f"{needed / 1e9:.1f} GB are to be fetched, but {self.models_dir} has only "
                f"{free / 1e9:.1f} GB free. Free some space, or choose less with --style."
            )

    def _pull_one(self, file: ModelFile) -> None:
        path = self.models_dir / file.dest
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _opened(part_of(path), file) as part:
                self._fetch(file, part)
                os.fsync(part.fileno())
                part_of(path).replace(path)
            _etag_file(path).unlink(missing_ok=True)
            _sync_directory(path.parent)
            write_record(path, file)
        except OSError as error:
            raise _disk_error(file, path, error) from error

    def _fetch(self, file: ModelFile, part: FileIO) -> None:
        """Try until the part is the whole file."""
        failures = wrong = reached = 0
        while True:
            try:
                self._attempt(file, part)
            except _WrongContent as error:
                part.truncate(0)
                wrong += 1
                if wrong >= WRONG_CONTENTS:
                    raise DownloadError(f"{file.id}: {error}. Nothing of it was kept.") from error
            except _Passing as error:
                size = os.fstat(part.fileno()).st_size
                failures = 1 if size > reached else failures + 1
                reached = max(reached, size)
                if failures >= self.tries:
                    raise DownloadError(
                        f"{file.id}: {error}, {failures} times in a row. "
                        "What has come is kept; run the same command again to go on."
                    ) from error
                self._pause(failures, error.pause_s)
            else:
                return

    def _attempt(self, file: ModelFile, part: FileIO) -> None:
        """One request, unless the part is whole already; then the checks of the whole."""
        path = part_of(self.models_dir / file.dest)
        if path.stat().st_size > file.size:
            part.truncate(0)
        digest: Hash = hashlib.sha256()
        hash_file(path, digest, file, self.progress)
        if part.seek(0, os.SEEK_END) < file.size:
            try:
                digest = self._stream(file, part, digest)
            except httpx.RequestError as error:
                raise _Passing(f"the connection broke ({type(error).__name__})") from error
        if digest.hexdigest() != file.sha256:
            raise _WrongContent("its hash is not the one in models.json")
        try:
            check_header(path)
        except DamagedModel as error:
            raise DownloadError(f"{file.id} is no whole safetensors file: {error}.") from error

    def _stream(self, file: ModelFile, part: FileIO, digest: Hash) -> Hash:
        """Append what is missing; returns the hash of the whole."""
        etag_file, begun = _etag_file(self.models_dir / file.dest), part.tell()
        headers = {"Accept-Encoding": "identity", **self._authorization(file.url)}
        if begun:
            headers["Range"] = f"bytes={begun}-"
            if etag := _read_etag(etag_file):
                headers["If-Range"] = etag
        with self.client.stream(
            "GET", file.url, headers=headers, follow_redirects=True, timeout=TIMEOUT
        ) as answer:
            _check_status(file, answer)
            if answer.status_code == httpx.codes.PARTIAL_CONTENT:
                _check_range(file, answer, begun)
            else:  # the whole file: it changed meanwhile, or the server knows no ranges
                _check_total(file, answer.headers.get("Content-Length", ""))
                part.truncate(0)
                part.seek(0)
                digest = hashlib.sha256()
            _write_etag(etag_file, answer.headers.get("ETag", ""))
            self._copy(file, answer, part, digest)
        return digest

    def _copy(self, file: ModelFile, answer: httpx.Response, part: FileIO, digest: Hash) -> None:
        for chunk in answer.iter_raw():  # as it comes: what is gathered first is lost by a cut
            if part.tell() + len(chunk) > file.size:
                raise _WrongContent(f"the server sends more than {file.size} bytes")
            rest = memoryview(chunk)
            while rest:  # an unbuffered write may take less than it is given
                rest = rest[part.write(rest) :]
            digest.update(chunk)
            self.progress(file, part.tell())
        if part.tell() < file.size:
            raise _Passing(f"the server ended after {part.tell()} of {file.size} bytes")

    def _authorization(self, url: str) -> dict[str, str]:
        # httpx drops this header when it follows a redirect to another origin.
        origin, target = self.token_origin, httpx.URL(url)
        same = (target.scheme, target.host, target.port) == (
            origin.scheme,
            origin.host,
            origin.port,
        )
        if self.token is None or not self.token.get_secret_value() or not same:
            return {}
        return {"Authorization": f"Bearer {self.token.get_secret_value()}"}

    def _pause(self, failures: int, asked_s: float) -> None:
        own = self.pause_s * 2 ** max(failures - 1, 0) * random.uniform(0.5, 1.0)  # noqa: S311
        time.sleep(min(max(own, asked_s), LONGEST_PAUSE_S))


@contextmanager
def _opened(path: Path, file: ModelFile) -> Iterator[FileIO]:
    """The part, unbuffered and ours alone."""
    path.touch()
    with path.open("r+b", buffering=0) as part:
        if not _locked(part, path):
            raise DownloadError(f"{file.id} is being fetched by another program.")
        yield part


def _locked(part: FileIO, path: Path) -> bool:
    """Whether it is ours alone now, and not what another program has just put in place."""
    try:
        fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(part.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _check_status(file: ModelFile, answer: httpx.Response) -> None:
    status, codes = answer.status_code, httpx.codes
    if status in {codes.OK, codes.PARTIAL_CONTENT}:
        return
    if status == codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise _WrongContent("the server has less of it than we have")
    if status in {codes.REQUEST_TIMEOUT, codes.TOO_MANY_REQUESTS} or status >= 500:
        after = answer.headers.get("Retry-After", "")
        pause_s = float(after) if after.isdecimal() else 0.0
        raise _Passing(f"{answer.url.host} answers {status}", pause_s)
    if status in {codes.UNAUTHORIZED, codes.FORBIDDEN}:
        raise DownloadError(
            f"{file.id}: {answer.url.host} answers {status}. Accept the model's licence there and "
            "set HF_TOKEN to a token that may read it."
        )
    raise DownloadError(f"{file.id}: {answer.url.host} answers {status} for {file.url}.")


def _check_range(file: ModelFile, answer: httpx.Response, begun: int) -> None:
    text = answer.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text)
    if found is None or int(found[1]) != begun:
        raise _WrongContent(f"asked for bytes from {begun}, the server sends {text or 'others'!r}")
    _check_total(file, found[2])


def _check_total(file: ModelFile, total: str) -> None:
    if total.isdecimal() and int(total) != file.size:
        raise DownloadError(
            f"{file.id}: the server has {total} bytes, models.json says {file.size}. The file was "
            "changed there, or something between answers in its place."
        )


def _etag_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.part.etag")


def _read_etag(path: Path) -> str:
    """The kept ETag; empty without a strong one, which alone may be compared (RFC 9110, 13.1.5)."""
    try:
        etag = path.read_text().strip()
    except OSError:
        return ""
    return "" if etag.startswith("W/") else etag


def _write_etag(path: Path, etag: str) -> None:
    path.write_text(etag)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_error(file: ModelFile, path: Path, error: OSError) -> DownloadError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return NoSpace(
            f"{file.id}: the disk of {path.parent} is full. Free some space and run the same "
            "command again; what has come is kept."
        )
    return DownloadError(f"{file.id}: {path} cannot be written: {error.strerror}.")
