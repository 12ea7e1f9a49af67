"""The bot's own SQLite file: what must survive a `kill -9` at any moment.

Each statement is its own transaction in a write-ahead log: a killed process loses none that ran.
"""

import sqlite3
from pathlib import Path

from web import sqlite

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


class Database:
    """One connection for the one thread that uses it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA secure_delete = ON")
        sqlite.migrate(self._connection, path, [_SCHEMA])
        path.chmod(0o600)

    def close(self) -> None:
        self._connection.close()

    def run(self, statement: str, *values: object) -> int:
        """Run a statement; return the number of rows it changed."""
        return self._connection.execute(statement, values).rowcount

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
