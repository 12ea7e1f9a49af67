"""Bring a person's own model file: fetch it from an address and list it in EASEL_MODELS_FILE."""

import fcntl
import json
import os
import re
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.parse import unquote

import httpx

from gpu_server.models.download import Downloader
from gpu_server.models.files import bytes_arrived, hash_of, write_record
from gpu_server.models.manifest import Manifest, ManifestError, ModelFile, load_manifest, read_own
from gpu_server.models.part import DownloadError, Transient, opened
from gpu_server.models.safetensors import DamagedModel, check_start

_SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.safetensors")
_START_BYTES = 9
_PROBES = 3


class AddRefused(ManifestError):
    """The address, name or id cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class _Found:
    """What a site says about a file."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Addition:
    """What to bring, and where to list it."""

    url: str
    folder: str
    name: str | None
    id: str | None
    is_forced: bool
    own: Path


def add(downloader: Downloader, wanted: Addition) -> ModelFile:
    """Fetch a file, list it and return its entry. Raises AddRefused or DownloadError."""
    url = file_address(wanted.url, tuple(site.mirror for site in downloader.sites.known))
    if wanted.name and not _NAME.fullmatch(wanted.name):
        raise AddRefused(
            f"--name must be letters, digits, '.', '_' and '-' and end in {_SUFFIX}: no folder."
        )
    wanted.own.parent.mkdir(parents=True, exist_ok=True)
    _check_writable(wanted.own)
    found = _look_at(downloader, url)
    name = wanted.name or safe_name(found.name)
    file = _entry(wanted, url, f"{wanted.folder}/{name}", found)
    path = downloader.models_dir / file.dest
    sha256 = _kept(path, file, is_forced=wanted.is_forced)
    if sha256 is None:
        downloader.check_space([file])
        with opened(path, file) as part:
            sha256 = downloader.fetch(file, part)
            if path.exists() and not wanted.is_forced and hash_of(path) != sha256:
                part.discard()
                raise _other_content(file)
            part.put_in_place()
    complete = ModelFile.model_validate(file.model_dump() | {"sha256": sha256})
    write_record(path, complete)
    list_files(wanted.own, [complete])
    return complete


def pin(downloader: Downloader, file: ModelFile, own: Path) -> ModelFile:
    """Fetch a file whose content no list tells yet, and list what it is. Raises like `add`."""
    folder, _, name = file.dest.partition("/")
    return add(downloader, Addition(file.url, folder, name, file.id, is_forced=False, own=own))


def file_address(url: str, mirrors: tuple[str, ...] = ()) -> str:
    """Return the address of the file itself for that of its page. Raises AddRefused."""
    try:
        parsed = httpx.URL(url.strip()).copy_with(fragment=None)
    except httpx.InvalidURL as error:
        raise AddRefused("This is not an address; it must begin with https://.") from error
    if parsed.scheme not in ("http", "https") or not re.fullmatch(r"[\w.:-]+", parsed.host):
        raise AddRefused("This is not an address; it must begin with https://.")
    secret = {"token", "api_key", "apikey", "access_token"} & {n.lower() for n in parsed.params}
    if parsed.userinfo or secret:
        raise AddRefused(
            "The address holds a token or a password, which would be kept in the list of models. "
            "Leave it out and set CIVITAI_TOKEN or HF_TOKEN."
        )
    hosts = {"huggingface.co", *(httpx.URL(mirror).host for mirror in mirrors if mirror)}
    if parsed.host in hosts:
        page = re.fullmatch(r"(.*/[^/]+/[^/]+)/(blob|resolve)/(.+/.+)", parsed.path)
        if page is None:
            raise AddRefused(
                "This is the page of a repository. Give the address of one file in it: "
                "https://huggingface.co/OWNER/NAME/resolve/main/FILE.safetensors."
            )
        parsed = parsed.copy_with(path=f"{page[1]}/resolve/{page[3]}", query=None)
    if parsed.host in ("civitai.com", "www.civitai.com") and not parsed.path.startswith("/api/"):
        version = parsed.params.get("modelVersionId", "")
        number = version if version.isdecimal() else "VERSION_ID"
        raise AddRefused(
            "This is a page of CivitAI. Give the address of its Download button: "
            f"https://civitai.com/api/download/models/{number}."
        )
    return str(parsed)


def safe_name(name: str) -> str:
    """Return a file name from a server as one that can do no harm."""
    last = re.split(r"[/\\]", name)[-1]
    plain = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode()
    stem = plain[: -len(_SUFFIX)] if plain.lower().endswith(_SUFFIX) else plain
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).lstrip("._-").rstrip("._")[:120]
    if not clean:
        raise AddRefused(
            f"The server gives the file no usable name: choose one, --name X{_SUFFIX}."
        )
    return clean + _SUFFIX


def _look_at(downloader: Downloader, url: str) -> _Found:
    """Ask for name, size and, where the site tells it, hash; see that it is safetensors."""
    for left in reversed(range(_PROBES)):
        try:
            with downloader.sites.get(downloader.client, url, "the file", {}) as answer:
                size = answer.headers.get("Content-Length", "")
                if not size.isdecimal() or not int(size):
                    raise DownloadError("The server does not say how large the file is.")
                start = b""
                for chunk in answer.iter_raw(_START_BYTES):
                    start += chunk
                    if len(start) >= _START_BYTES:
                        break
                check_start(start, int(size))
                return _Found(_name_of(answer, url), int(size), _hash_of(answer))
        except Transient as error:
            if not left:
                raise DownloadError(
                    f"The file cannot be fetched: {error}. {error.advice}"
                ) from error
            time.sleep(max(downloader.pause_s, min(error.pause_s, 10.0)))
        except DamagedModel as error:
            raise DownloadError(
                f"The file is not safetensors: {error}. Easel loads no other format, because those "
                "can run code."
            ) from error
    raise AssertionError


def _name_of(answer: httpx.Response, url: str) -> str:
    message = Message()
    message["Content-Disposition"] = answer.headers.get("Content-Disposition", "")
    return message.get_filename() or unquote(httpx.URL(url).path.rpartition("/")[2])


def _hash_of(answer: httpx.Response) -> str:
    """Return the hash that Hugging Face sends with its redirect to the storage, else nothing."""
    for step in (answer, *answer.history):
        etag = step.headers.get("X-Linked-ETag", "").strip('"')
        if re.fullmatch(r"[0-9a-f]{64}", etag):
            return str(etag)
    return ""


def _entry(wanted: Addition, url: str, dest: str, found: _Found) -> ModelFile:
    """Make the entry; refuse an id or a place that another one has."""
    manifest = load_manifest(own=wanted.own if wanted.own.exists() else None)
    there = next((file for file in manifest.files if file.dest == dest), None)
    stem = dest.partition("/")[2].removesuffix(_SUFFIX).lower()
    new = re.sub(r"[^a-z0-9.-]+", "-", stem).strip("-.")
    chosen = wanted.id or (there.id if there else new)
    if there and there.id != chosen:
        raise AddRefused(f"{dest} is listed as {there.id}: use that id, or another --name.")
    same = next((file for file in manifest.files if file.id == chosen), None)
    if same and same.dest != dest:
        raise AddRefused(f"The id {chosen} is that of {same.dest}: choose another with --id.")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", chosen):
        raise AddRefused("--id must be small letters, digits, '.' and '-'.")
    if there and there not in _own_entries(wanted.own) and not wanted.id:
        raise AddRefused(f"Easel lists this file itself: ./startup.sh models pull {chosen}.")
    kept = {"licence": same.licence, "needed_by": same.needed_by} if same else {}
    sha256 = found.sha256
    if same and not same.is_pinned and same.sha256:
        if sha256 not in ("", same.sha256):
            raise DownloadError(f"{chosen}: the server's file is not the one of the list's hash.")
        sha256 = same.sha256
    values = {"id": chosen, "dest": dest, "url": url, "size": found.size, "sha256": sha256}
    return ModelFile.model_validate(values | kept)


def _kept(path: Path, file: ModelFile, *, is_forced: bool) -> str | None:
    """Return the hash of the file that is already there, or None if one has to be fetched."""
    if not path.exists() or bytes_arrived(path):
        return None
    sha256 = hash_of(path) if path.stat().st_size == file.size else ""
    if file.sha256 and sha256 == file.sha256:
        return sha256
    if (not sha256 or file.sha256) and not is_forced:
        raise _other_content(file)
    return None


def _other_content(file: ModelFile) -> DownloadError:
    return DownloadError(
        f"{file.dest} is already there with other content, which was kept. Choose another name "
        "with --name, or replace it with --force."
    )


def _own_entries(own: Path) -> tuple[ModelFile, ...]:
    return read_own(own).files if own.exists() else ()


def _check_writable(own: Path) -> None:
    if not os.access(own.parent, os.W_OK):
        raise AddRefused(f"{own.parent} (EASEL_MODELS_FILE) cannot be written.")


def list_files(own: Path, files: Sequence[ModelFile]) -> None:
    """Write entries into the list in one step; others that add at the same time wait."""
    if not files:
        return
    target = own.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        before = read_own(target) if target.exists() else Manifest()
        new = {file.id for file in files}
        entries = [entry for entry in before.files if entry.id not in new] + [*files]
        content = {
            "schema": 1,
            "profiles": before.profiles,
            "files": [entry.model_dump(mode="json", exclude_defaults=True) for entry in entries],
        }
        fresh = target.with_name(f"{target.name}.new")
        with fresh.open("w", encoding="utf-8") as out:
            json.dump(content, out, indent=2, ensure_ascii=False)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(target)
        os.fsync(folder)
    finally:
        os.close(folder)
