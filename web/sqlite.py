"""SQLite files: the version of their schema, and what is wrong with one, in words."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

_FAULTS = {
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is damaged: it is not a database",
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_IOERR: "its disk cannot be read or written, or is full",
    sqlite3.SQLITE_READONLY: "it cannot be written to",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened or made",
    sqlite3.SQLITE_PERM: "it cannot be opened",
    sqlite3.SQLITE_AUTH: "it cannot be opened",
    sqlite3.SQLITE_BUSY: "another process holds it",
    sqlite3.SQLITE_LOCKED: "another process holds it",
}
_RESTORE = "restore a backup (./startup.sh restore FILE), or move the file away to begin anew"
_ADVICE = {
    sqlite3.SQLITE_CORRUPT: _RESTORE,
    sqlite3.SQLITE_NOTADB: _RESTORE,
    sqlite3.SQLITE_FULL: "free some space",
    sqlite3.SQLITE_IOERR: "look at the disk and its free space",
    sqlite3.SQLITE_BUSY: "end that process",
    sqlite3.SQLITE_LOCKED: "end that process",
}
_DEFAULT_ADVICE = "make the file and its folder writable for this user"


class FileRefused(Exception):
    """A database file cannot be used; the message says which, why and what to do."""

    @classmethod
    def of(cls, path: Path, error: sqlite3.Error) -> "FileRefused":
        code = code_of(error)
        fault = _FAULTS.get(code, f"SQLite reports: {error}")
        return cls(f"the database {path} cannot be used: {fault}; {_advice(code)}")

    @classmethod
    def damaged(cls, path: Path) -> "FileRefused":
        return cls(f"the database {path} cannot be used: it is damaged; {_RESTORE}")


def code_of(error: BaseException | None) -> int:
    """Return SQLite's primary result code, such as `sqlite3.SQLITE_FULL`; 0 if there is none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _advice(code: int) -> str:
    return _ADVICE.get(code, _DEFAULT_ADVICE)


def migrate(connection: sqlite3.Connection, path: Path, steps: Sequence[str]) -> None:
    """Bring the schema to the version `len(steps)`, which `PRAGMA user_version` counts.

    Step n takes version n to n + 1, whole or not at all. The first must also fit a file without a
    version, which may have its tables already: `CREATE TABLE IF NOT EXISTS`. Released steps never
    change. Raises FileRefused for a file that a newer release has changed.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(steps):
        raise FileRefused(
            f"the database {path} is of a newer Easel (schema {version}, this one knows "
            f"{len(steps)}); start that release, or restore a backup from before the update"
        )
    for number, step in enumerate(steps[version:], version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{step};\nPRAGMA user_version = {number};\nCOMMIT;"
        )
