"""Fetch model files: resumed after a break, hashed while they stream, put in place when complete.

A part is hashed again before it is continued: the bytes on disk count, not those once sent.
"""

import hashlib
import random
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from gpu_server.models.files import (
    Hash,
    Progress,
    State,
    bytes_arrived,
    hash_file,
    state_of,
    verify,
    write_record,
)
from gpu_server.models.manifest import ModelFile
from gpu_server.models.part import DownloadError, NoSpace, Part, Transient, WrongContent, opened
from gpu_server.models.safetensors import DamagedModel, check_header
from gpu_server.models.sites import DEFAULT_SITES, Sites

_MAX_PAUSE_S = 60.0
_MAX_WRONG_CONTENTS = 2  # fetch a wrong file once more, in case it was corrupted on the way
_MARGIN_BYTES = 256 * 2**20  # a disk filled to the last byte breaks other programs


@dataclass(frozen=True)
class Downloader:
    """Fetches into one directory."""

    client: httpx.Client
    models_dir: Path
    progress: Progress
    sites: Sites = DEFAULT_SITES
    tries: int = 6
    """Failed attempts in a row, without progress, before giving up on a file."""
    pause_s: float = 1.0
    """Pause before the second attempt; doubles with each."""

    def pull(self, files: Sequence[ModelFile]) -> list[ModelFile]:
        """Fetch the files that are not installed and return them; may raise DownloadError."""
        missing = [file for file in files if not self._is_installed(file)]
        self.check_space(missing)
        for file in missing:
            path = self.models_dir / file.dest
            with opened(path, file) as part:
                self.fetch(file, part)
                part.put_in_place()
                write_record(path, file)
        return missing

    def _is_installed(self, file: ModelFile) -> bool:
        state = state_of(self.models_dir, file)
        if state is State.UNVERIFIED:
            return verify(self.models_dir, file, self.progress)
        return state is State.INSTALLED

    def check_space(self, files: Sequence[ModelFile]) -> None:
        self.models_dir.mkdir(parents=True, exist_ok=True)
        arrived = sum(bytes_arrived(self.models_dir / file.dest) for file in files)
        needed = sum(file.size for file in files) - arrived
        free = shutil.disk_usage(self.models_dir).free
        if needed > 0 and needed + _MARGIN_BYTES > free:
            raise NoSpace(
                f"{needed / 1e9:.1f} GB have to be fetched, but {self.models_dir} has only "
                f"{free / 1e9:.1f} GB free. Free some space, or fetch less with --style."
            )

    def fetch(self, file: ModelFile, part: Part) -> str:
        """Repeat attempts until the part is the complete file; return its hash."""
        failures = wrong = reached = 0
        while True:
            try:
                return self._attempt(file, part)
            except WrongContent as error:
                part.clear()
                wrong += 1
                if wrong >= _MAX_WRONG_CONTENTS:
                    raise DownloadError(f"{file.id}: {error}. Nothing of it was kept.") from error
            except Transient as error:
                failures = 1 if part.size > reached else failures + 1
                reached = max(reached, part.size)
                if failures >= min(self.tries, error.tries or self.tries):
                    text = f"{file.id}: {error}, {failures} times in a row. {error.advice}"
                    raise DownloadError(text) from error
                own = self.pause_s * 2 ** (failures - 1) * random.uniform(0.5, 1.0)  # noqa: S311
                time.sleep(min(max(own, error.pause_s), _MAX_PAUSE_S))

    def _attempt(self, file: ModelFile, part: Part) -> str:
        """Request what is missing, if anything, then check the complete file; return its hash."""
        can_continue = part.size <= file.size if file.sha256 else part.etag != ""
        if not can_continue or (not file.sha256 and part.size >= file.size):
            part.clear()
        digest: Hash = hashlib.sha256()
        hash_file(part.path, digest, file, self.progress)
        if part.size < file.size:
            digest = self._stream(file, part, digest)
        if file.sha256 and digest.hexdigest() != file.sha256:
            raise WrongContent("its hash is not the one in models.json")
        try:
            check_header(part.path)
        except DamagedModel as error:
            raise DownloadError(f"{file.id} is not a valid safetensors file: {error}.") from error
        return digest.hexdigest()

    def _stream(self, file: ModelFile, part: Part, digest: Hash) -> Hash:
        """Append what is missing and return the hash of the whole; `digest` is of the part."""
        begin = part.size
        headers = {}
        if begin:
            headers["Range"] = f"bytes={begin}-"
            if etag := part.etag:
                headers["If-Range"] = etag
        with self.sites.get(self.client, file.url, file.id, headers) as answer:
            if answer.status_code == httpx.codes.PARTIAL_CONTENT:
                _check_range(file, answer, begin)
            else:  # the whole file: it changed on the server, or the server has no ranges
                _check_total(file, answer.headers.get("Content-Length", ""))
                part.clear()
                digest = hashlib.sha256()
            part.etag = answer.headers.get("ETag", "")
            self._copy(file, answer, part, digest)
        return digest

    def _copy(self, file: ModelFile, answer: httpx.Response, part: Part, digest: Hash) -> None:
        done = part.size
        for chunk in answer.iter_raw():  # not gathered to a size: a cut would lose what is held
            done += len(chunk)
            if done > file.size:
                raise WrongContent(f"the server sends more than {file.size} bytes")
            part.append(chunk)
            digest.update(chunk)
            self.progress(file, done)
        if done < file.size:
            raise Transient(f"the server ended after {done} of {file.size} bytes")


def _check_range(file: ModelFile, answer: httpx.Response, begin: int) -> None:
    text = answer.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text)
    if match is None or int(match[1]) != begin:
        raise WrongContent(
            f"bytes from {begin} were requested, the server sends {text or 'others'!r}"
        )
    _check_total(file, match[2])


def _check_total(file: ModelFile, total: str) -> None:
    if total.isdecimal() and int(total) != file.size:
        raise DownloadError(
            f"{file.id}: the server has {total} bytes, models.json says {file.size}. The file "
            "changed on the server, or a proxy answers in its place."
        )
