"""The schema of a SQLite file has a version: older files are brought up, newer ones refused."""

import sqlite3
from pathlib import Path

import pytest

from web.sqlite import FileRefused, migrate

FIRST = "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY)"
SECOND = "ALTER TABLE jobs ADD COLUMN note TEXT; UPDATE jobs SET note = 'old'"


def opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def test_a_file_without_a_version_keeps_its_rows_and_gets_every_step_once(tmp_path: Path) -> None:
    db = opened(tmp_path / "jobs.sqlite3")
    db.executescript(f"{FIRST}; INSERT INTO jobs VALUES ('a')")
    for _ in range(2):
        migrate(db, tmp_path, [FIRST, SECOND])
    assert db.execute("SELECT * FROM jobs").fetchall() == [("a", "old")]


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    db = opened(tmp_path / "jobs.sqlite3")
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, tmp_path, [FIRST, "ALTER TABLE jobs ADD COLUMN note TEXT; SELECT nothing"])
    db.rollback()
    columns = [row[1] for row in db.execute("PRAGMA table_info(jobs)")]
    assert (columns, db.execute("PRAGMA user_version").fetchone()) == (["id"], (1,))


def test_a_file_of_a_newer_release_is_refused_in_a_sentence(tmp_path: Path) -> None:
    db = opened(tmp_path / "jobs.sqlite3")
    migrate(db, tmp_path, [FIRST, SECOND])
    with pytest.raises(FileRefused, match="of a newer Easel"):
        migrate(db, tmp_path, [FIRST])
