"""The bot's own SQLite file: what must survive a `kill -9` at any moment.

Each statement is its own transaction in a write-ahead log: a killed process loses none that ran.
"""

import sqlite3
from collections import deque
from pathlib import Path
from typing import Any

import structlog

from web.sqlite import FileRefused, migrate

_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    generation TEXT PRIMARY KEY,
    user_id INTEGER NOT NULL,
    chat_id INTEGER NOT NULL,
    message_id INTEGER,
    reply_to INTEGER,
    unsure INTEGER NOT NULL DEFAULT 0,
    holds_media INTEGER NOT NULL DEFAULT 0,
    origin TEXT NOT NULL,
    request TEXT NOT NULL,
    photo TEXT,
    state TEXT NOT NULL,
    file_id TEXT,
    favourite INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS deliveries_by_user ON deliveries (user_id, state, created_at);
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (state);
CREATE INDEX IF NOT EXISTS deliveries_by_origin ON deliveries (user_id, origin);
CREATE INDEX IF NOT EXISTS deliveries_by_message ON deliveries (chat_id, message_id);
CREATE TABLE IF NOT EXISTS people (
    user_id INTEGER PRIMARY KEY,
    language_code TEXT NOT NULL DEFAULT 'en',
    preferences TEXT NOT NULL DEFAULT '{}',
    draft TEXT,
    private INTEGER NOT NULL DEFAULT 0,
    blocked INTEGER NOT NULL DEFAULT 0,
    seen_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS banned (user_id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS reports (
    generation TEXT NOT NULL, user_id INTEGER NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (generation, user_id)
);
CREATE TABLE IF NOT EXISTS inbox (
    update_id INTEGER PRIMARY KEY, body TEXT, tries INTEGER NOT NULL DEFAULT 0, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS albums (
    group_id TEXT NOT NULL, message_id INTEGER NOT NULL, photo TEXT NOT NULL,
    caption TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (group_id, message_id)
);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, text TEXT NOT NULL);
"""
_STEPS = (_SCHEMA,)
"""Step n takes a file of schema version n to n + 1; released steps never change."""

_MAX_UNWRITTEN = 10_000
log = structlog.get_logger("telegram_bot.storage.database")


class Database:
    """One connection for the one thread that uses it.

    `fault` says why the last write failed; None if it did not.

    Raises:
        FileRefused: The file cannot be opened, is damaged or of a newer release.
    """

    def __init__(self, path: Path) -> None:
        self.fault: str | None = None
        self._unwritten: deque[tuple[str, tuple[Any, ...]]] = deque(maxlen=_MAX_UNWRITTEN)
        try:
            self._connection = _open(path)
        except OSError as error:
            raise FileRefused(
                f"the bot's data cannot be kept in {path.parent}: {error.strerror}; "
                "make it a folder that this user can write to, or set EASEL_DATA_DIR"
            ) from error
        except sqlite3.Error as error:
            raise FileRefused.of(path, error) from error

    def close(self) -> None:
        self._connection.close()

    def run(self, statement: str, *values: object) -> int:
        """Run a statement; return the number of rows it changed."""
        self._catch_up()
        return self._run(statement, values)

    def note_down(self, statement: str, *values: object) -> None:
        """Record what has already happened: if the disk refuses it, repeat it before later writes.

        A full disk must not stop the work that a write only records.
        """
        self._unwritten.append((statement, values))
        try:
            self._catch_up()
        except sqlite3.OperationalError:
            return  # `fault` has the reason

    def _catch_up(self) -> None:
        while self._unwritten:
            statement, values = self._unwritten.popleft()
            try:
                self._run(statement, values)
            except sqlite3.OperationalError:
                self._unwritten.appendleft((statement, values))
                raise

    def _run(self, statement: str, values: tuple[Any, ...]) -> int:
        try:
            changed = self._connection.execute(statement, values).rowcount
        except sqlite3.OperationalError as error:
            if self.fault is None:
                log.warning("database_not_written", reason=str(error))
            self.fault = f"it cannot be written ({error}): free some space, or repair the disk"
            raise
        if self.fault is not None:
            log.info("database_written_again")
            self.fault = None
        return changed

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        return self._connection.execute(query, values).fetchall()

    def row(self, query: str, *values: object) -> sqlite3.Row | None:
        first: sqlite3.Row | None = self._connection.execute(query, values).fetchone()
        return first

    def count(self, query: str, *values: object) -> int:
        row = self.row(query, *values)
        return int(row[0]) if row else 0

    def note(self, name: str) -> str | None:
        """Return the text kept under a name."""
        row = self.row("SELECT text FROM notes WHERE name = ?", name)
        return str(row["text"]) if row else None

    def set_note(self, name: str, text: str | None) -> None:
        if text is None:
            self.run("DELETE FROM notes WHERE name = ?", name)
        else:
            self.run("INSERT OR REPLACE INTO notes VALUES (?, ?)", name, text)

    def cache_note(self, name: str, text: str) -> None:
        """Keep a text that is known again after a restart without this note, only later."""
        self.note_down("INSERT OR REPLACE INTO notes VALUES (?, ?)", name, text)


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    connection.row_factory = sqlite3.Row
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"):
        connection.execute(f"PRAGMA {pragma}")
    if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        damaged = sqlite3.DatabaseError(found)
        damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damaged
    migrate(connection, path, _STEPS)
    path.chmod(0o600)
    return connection
