"""`backup` saves what a running host keeps, and `restore` puts it back whole or not at all."""

import sqlite3
import sys
import tarfile
from pathlib import Path

import pytest

from tests.infra.supervisor.conftest import LabHost


def fill(lab: LabHost, word: str) -> sqlite3.Connection:
    """Give the host data; return the connection of its writer, whose rows are in the log only."""
    data = lab.path / "data"
    for name in ("backend/images/images/ab/one-0", "signing/key.pem", "gpu_server/jobs/1/photo"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(word)
    (data / "backend/images/images/ab/two-0#1").write_text("being written")
    (data / "models").mkdir(exist_ok=True)
    (data / "models/large").write_text("can be fetched again")
    writer = sqlite3.connect(data / "backend/easel.sqlite3", isolation_level=None)
    writer.executescript("PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t (word)")
    writer.execute("INSERT INTO t VALUES (?)", (word,))
    return writer


def words(lab: LabHost) -> list[str]:
    data = lab.path / "data"
    kept = [
        (data / name).read_text()
        for name in ("backend/images/images/ab/one-0", "signing/key.pem", "gpu_server/jobs/1/photo")
    ]
    db = sqlite3.connect(data / "backend/easel.sqlite3")
    kept += [row[0] for row in db.execute("SELECT word FROM t")]
    db.close()
    return kept


@pytest.mark.parametrize("name", ["saved.tar", "saved.tar.gz"])
def test_what_was_saved_while_running_comes_back_and_services_run_again(
    lab: LabHost, name: str
) -> None:
    lab.add("one")
    lab.run("start")
    archive = lab.path / "kept" / name
    writer = fill(lab, "before")
    saved = lab.run("backup", str(archive))
    assert saved.returncode == 0, saved.stderr
    assert ".env" in saved.stdout
    assert archive.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in archive.parent.iterdir()] == [name]
    with tarfile.open(archive) as tar:
        assert not [one for one in tar.getnames() if "#" in one or "models" in one]
    fill(lab, "after").close()
    writer.close()
    pid = lab.pid("one")
    restored = lab.run("restore", str(archive))
    assert restored.returncode == 0, restored.stderr
    assert words(lab) == ["before"] * 4
    assert lab.status()["one"].ready
    assert lab.pid("one") != pid
    database = lab.path / "data/backend/easel.sqlite3"
    assert database.stat().st_mode & 0o077 == 0
    assert (lab.path / "data/models/large").exists()
    assert not list((lab.path / "data").glob(".restore-*"))


def test_a_backup_that_is_damaged_or_does_not_serve_changes_nothing(lab: LabHost) -> None:
    archive = lab.path / "saved.tar"
    fill(lab, "saved").close()
    assert lab.run("backup", str(archive)).returncode == 0
    fill(lab, "present").close()
    present = ["present"] * 3 + ["saved", "present"]
    whole = archive.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(b"SQLite format 3") + 4000] ^= 0xFF
    for damaged in (b"", b"no archive", whole[: len(whole) // 2], bytes(flipped)):
        archive.write_bytes(damaged)
        refused = lab.run("restore", str(archive))
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1, refused.stderr
        assert words(lab) == present
    archive.write_bytes(whole)
    # A service that ends at once on the restored data.
    lab.add("one")
    key = lab.path / "data/signing/key.pem"
    command = lab.table[0]["command"]
    program = f"""if 1:
        import os, sys
        if open({str(key)!r}).read() == "saved":
            sys.exit(2)
        os.execv({command[0]!r}, {command!r})
    """
    lab.table[0]["command"] = [sys.executable, "-c", program]
    assert lab.run("start").returncode == 0
    refused = lab.run("restore", str(archive))
    assert refused.returncode == 1
    assert "is back" in refused.stderr
    assert words(lab) == present
    assert lab.status()["one"].ready


@pytest.mark.parametrize(
    ("name", "link"),
    [("../outside", ""), ("/outside", ""), ("backend/link", "/etc"), ("backend", "")],
)
def test_an_archive_that_reaches_outside_is_refused(lab: LabHost, name: str, link: str) -> None:
    fill(lab, "present").close()
    archive = lab.path / "odd.tar"
    with tarfile.open(archive, "w") as tar:
        for each in (name, "backend/key"):
            entry = tarfile.TarInfo(each)
            if link and each == name:
                entry.type, entry.linkname = tarfile.SYMTYPE, link
            tar.addfile(entry)
    refused = lab.run("restore", str(archive))
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert words(lab) == ["present"] * 4
    assert not list(lab.path.rglob("outside"))


def test_a_damaged_database_is_not_saved(lab: LabHost) -> None:
    fill(lab, "word").close()
    path = lab.path / "data/backend/easel.sqlite3"
    path.write_bytes(path.read_bytes()[:2000] + b"\xff" * 8000)
    archive = Path(lab.path / "saved.tar")
    refused = lab.run("backup", str(archive))
    assert refused.returncode == 1
    assert "easel.sqlite3" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not archive.exists()
