"""Save what this host's services keep in one archive while they run, and put it back.

The archive is a tar file: each database as SQLite's online backup, the other files as they are,
and a manifest with the SHA-256 of each. Secrets of the settings are not in it; images, prompts and
the signing key are, so that only its owner may read it.
"""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path, PurePosixPath

from infra.supervisor import lifecycle
from infra.supervisor.host import Host, HostError
from infra.supervisor.services import service_table

_FOLDERS = ("backend", "gpu_server", "telegram_bot", "signing")
"""What of the data directory is kept. Models, logs and ComfyUI's files can be made again."""
_MANIFEST = "manifest.json"
_DATABASE = ".sqlite3"
_UNFINISHED = re.compile(r"(-wal|-shm|-journal|\.part|#\d+)$")
"""Ends of names of files that belong to a database, or are being written."""
_CHUNK = 1 << 20
_ODD_NAMES = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError)


def save(host: Host, archive: Path) -> list[str]:
    """Write the archive, whole or not at all. Return sentences on what it does not hold.

    Databases come first: files that are written meanwhile may be in the archive without a row,
    which the next sweep removes, but no row lacks its files.
    """
    files = [path for name in _FOLDERS for path in _files_below(host.data_dir / name)]
    files.sort(key=lambda path: path.suffix != _DATABASE)
    if not files:
        raise HostError(f"There is nothing to save in {host.data_dir}.")
    os.umask(0o077)
    archive.parent.mkdir(parents=True, exist_ok=True)
    with _whole(archive) as part, tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        copy, digests = Path(folder) / "database", dict[str, str]()
        mode = "w:gz" if archive.suffix in {".gz", ".tgz"} else "w:"
        with tarfile.open(part, mode) as tar:  # type: ignore[call-overload]
            for path in files:
                name = str(path.relative_to(host.data_dir))
                source = path
                if path.suffix == _DATABASE:
                    _copy_database(path, copy)
                    source = copy
                with suppress(FileNotFoundError):  # deleted meanwhile
                    digests[name] = _add(tar, source, name)
            copy.write_text(json.dumps(digests))
            tar.add(copy, _MANIFEST)
        _verify(part, Path(folder) / "verified")
    return _not_held(host)


def restore(host: Host, archive: Path) -> None:
    """Put an archive in the place of the present data, which is back if anything fails."""
    if not archive.is_file():
        raise HostError(f"There is no file {archive}.")
    os.umask(0o077)
    host.data_dir.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".restore-", dir=host.data_dir))
    try:
        _verify(archive, aside / "fresh")
    except BaseException:  # Ctrl-C, too, leaves nothing behind
        shutil.rmtree(aside)
        raise
    ran = lifecycle.stop(host)
    services = [service.name for service in service_table(host) if service.name in ran]
    moves: list[tuple[Path, Path]] = []
    try:
        _swap(host.data_dir, aside, moves)
        if services:
            lifecycle.start(host, services)
    except BaseException as error:  # Ctrl-C, too, must bring the old data back
        lifecycle.stop(host)
        for source, target in reversed(moves):
            target.rename(source)
        shutil.rmtree(aside)
        if services:
            lifecycle.start(host, services)
        raise HostError(
            f"The data from before is back, as the backup did not serve. {error}"
        ) from (error)
    shutil.rmtree(aside)


def _swap(data: Path, aside: Path, moves: list[tuple[Path, Path]]) -> None:
    """Put each fresh folder in the place of the present one, and note every move."""
    (aside / "old").mkdir()
    for name in _FOLDERS:
        pairs = ((data / name, aside / "old" / name), (aside / "fresh" / name, data / name))
        for source, target in pairs:
            if source.exists():
                source.rename(target)
                moves.append((source, target))


def _files_below(folder: Path) -> list[Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return [path for path in found if not _UNFINISHED.search(path.name)]


@contextmanager
def _whole(archive: Path) -> Iterator[Path]:
    """Yield a private file beside `archive` that takes its place once it is complete."""
    part = archive.with_name(f".{archive.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(archive)
    finally:
        part.unlink(missing_ok=True)


def _copy_database(path: Path, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=30)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise HostError(f"The database {path} cannot be saved: {error}.") from error
    _check_database(copy, path)


def _check_database(path: Path, named: Path) -> None:
    try:
        with closing(sqlite3.connect(path)) as database:
            faults = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        faults = str(error)
    if faults != "ok":
        raise HostError(f"The database {named} is damaged: {faults}. Use an older backup.")


def _add(tar: tarfile.TarFile, source: Path, name: str) -> str:
    """Add a file; return the SHA-256 of what was added."""
    with source.open("rb") as data:
        entry = tar.gettarinfo(arcname=name, fileobj=data)
        entry.mode = 0o600
        digest = hashlib.file_digest(data, "sha256").hexdigest()
        data.seek(0)
        tar.addfile(entry, data)
    return digest


def _unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """Write its files into the folder. Raises ValueError for what no backup holds.

    The filters of `tarfile` would do, but Python has them only since 3.11.4.
    """
    for entry in tar:
        name = PurePosixPath(entry.name)
        if entry.isdir():
            continue
        data = tar.extractfile(entry) if entry.isreg() else None
        if data is None or name.is_absolute() or ".." in name.parts:
            raise ValueError(entry.name)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            path.chmod(0o600)
            shutil.copyfileobj(data, file)
        os.utime(path, (entry.mtime, entry.mtime))


def _verify(archive: Path, folder: Path) -> None:
    """Unpack the archive into `folder`. Raises HostError unless all of it is as it was saved."""
    try:
        with tarfile.open(archive) as tar:
            _unpack(tar, folder)
        digests = dict(json.loads((folder / _MANIFEST).read_text()))
        (folder / _MANIFEST).unlink()
        for name, digest in digests.items():
            with (folder / name).open("rb") as data:
                if hashlib.file_digest(data, "sha256").hexdigest() != digest:
                    raise HostError(f"{archive} is damaged: {name} is not what was saved.")
    except (tarfile.TarError, EOFError, ValueError, TypeError, *_ODD_NAMES) as error:
        raise HostError(
            f"{archive} is no whole backup of Easel: {type(error).__name__}. Use another one; "
            "nothing was changed."
        ) from error
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    if found - digests.keys() or {Path(name).parts[0] for name in found} - set(_FOLDERS):
        raise HostError(f"{archive} holds files that no backup of Easel has. Nothing was changed.")
    for name in digests:
        if name.endswith(_DATABASE):
            _check_database(folder / name, Path(name))


def _not_held(host: Host) -> list[str]:
    sentences = ["Not in it: the settings (.env files), which hold secrets. Save them apart."]
    database, images = host.setting("BACKEND_DATABASE_URL"), host.setting("BACKEND_IMAGES_URL")
    if database.startswith("postgres"):
        sentences.append(
            "Not in it: the backend's PostgreSQL database. Save it with pg_dump at the same time, "
            "and put it back with pg_restore while the services are stopped."
        )
    elif database:
        sentences.append("Not in it: the database that BACKEND_DATABASE_URL names. Copy it apart.")
    if images:
        sentences.append("Not in it: the images, which are where BACKEND_IMAGES_URL says.")
    return sentences
