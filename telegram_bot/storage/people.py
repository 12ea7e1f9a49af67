"""The people who use the bot: preferences, drafts, bans and the albums they sent."""

import time
from typing import Any, Literal

from pydantic import BaseModel

from telegram_bot.storage import lenient
from telegram_bot.storage.database import Database

Step = Literal["prompt", "style", "strength", "photo", "choice", "words"]


class Preferences(BaseModel, frozen=True):
    """What a person chose. `styles`: mode → the last style used; `size`: an aspect ratio."""

    language: str | None = None
    mode: str | None = None
    styles: dict[str, str] = {}
    size: str | None = None
    previews: bool = True
    as_file: bool = False
    quiet: bool = False


class Draft(BaseModel, frozen=True):
    """A request that is not complete; `step` is what the person is asked for next.

    `photo` has the sources of its photos; `asked` is the parameter that they are asked for, and
    `skipped` are the photos that they left out.
    """

    mode: str
    step: Step
    chat_id: int
    style: str | None = None
    words: str = ""
    photo: str | None = None
    values: dict[str, Any] = {}
    asked: str = ""
    skipped: tuple[str, ...] = ()


class Person(BaseModel, frozen=True):
    user_id: int
    language_code: str = "en"
    preferences: Preferences = Preferences()
    draft: Draft | None = None

    @property
    def language(self) -> str:
        return self.preferences.language or self.language_code


class People:
    """Everybody who was let in, by Telegram id."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def record(self, user_id: int, language_code: str, private: bool) -> None:
        """Record a person; `private`: in their own chat, so the bot can write to them."""
        self._db.note_down(
            "INSERT INTO people (user_id, language_code, private, seen_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (user_id) DO UPDATE SET language_code = excluded.language_code,"
            " private = max(private, excluded.private), seen_at = excluded.seen_at,"
            " blocked = blocked AND NOT excluded.private",
            *(user_id, language_code, private, time.time()),
        )

    def get(self, user_id: int) -> Person:
        row = self._db.row("SELECT * FROM people WHERE user_id = ?", user_id)
        if row is None:
            return Person(user_id=user_id)
        return Person(
            user_id=user_id,
            language_code=row["language_code"],
            preferences=lenient.read(Preferences, row["preferences"]) or Preferences(),
            draft=lenient.read(Draft, row["draft"]) if row["draft"] else None,
        )

    def prefer(self, user_id: int, **changes: object) -> Preferences:
        changed = self.get(user_id).preferences.model_copy(update=changes)
        text = changed.model_dump_json()
        self._db.run("UPDATE people SET preferences = ? WHERE user_id = ?", text, user_id)
        return changed

    def set_draft(self, user_id: int, draft: Draft | None) -> None:
        text = draft.model_dump_json() if draft else None
        self._db.run("UPDATE people SET draft = ? WHERE user_id = ?", text, user_id)

    def set_blocked(self, user_id: int, blocked: bool) -> None:
        self._db.note_down("UPDATE people SET blocked = ? WHERE user_id = ?", blocked, user_id)

    def reachable(self, after: int = 0) -> list[int]:
        """Return the ids that a broadcast reaches, in order, from the one after `after`."""
        rows = self._db.rows(
            "SELECT user_id FROM people WHERE private AND NOT blocked"
            " AND user_id > ? AND user_id NOT IN (SELECT user_id FROM banned) ORDER BY user_id",
            after,
        )
        return [row["user_id"] for row in rows]

    def count(self, since: float = 0) -> int:
        return self._db.count("SELECT count(*) FROM people WHERE seen_at >= ?", since)

    def ban(self, user_id: int) -> None:
        self._db.run("INSERT OR IGNORE INTO banned VALUES (?)", user_id)

    def unban(self, user_id: int) -> bool:
        return self._db.run("DELETE FROM banned WHERE user_id = ?", user_id) == 1

    def is_banned(self, user_id: int) -> bool:
        return self._db.count("SELECT count(*) FROM banned WHERE user_id = ?", user_id) == 1

    def forget(self, user_id: int) -> None:
        """Delete everything about a person except a ban."""
        for table in ("people", "deliveries", "reports"):
            self._db.run(f"DELETE FROM {table} WHERE user_id = ?", user_id)  # noqa: S608 - no input
        self._db.run("DELETE FROM albums WHERE group_id GLOB ?", f"{user_id}/*")

    def add_to_album(
        self, owner: int, group_id: str, message_id: int, photo: str, caption: str
    ) -> bool:
        """Store a photo of an album; return whether it was the first of its album to arrive."""
        key = f"{owner}/{group_id}"
        values = (key, message_id, photo, caption, time.time())
        self._db.run("INSERT OR IGNORE INTO albums VALUES (?, ?, ?, ?, ?)", *values)
        query = "SELECT message_id FROM albums WHERE group_id = ? ORDER BY rowid LIMIT 1"
        first = self._db.row(query, key)
        return first is not None and first["message_id"] == message_id

    def album(self, owner: int, group_id: str) -> list[tuple[str, str]]:
        """Return the person's photos of an album in order, each with its caption."""
        query = "SELECT photo, caption FROM albums WHERE group_id = ? ORDER BY message_id"
        rows = self._db.rows(query, f"{owner}/{group_id}")
        return [(row["photo"], row["caption"]) for row in rows]

    def forget_albums(self, older_than_s: float) -> None:
        self._db.note_down("DELETE FROM albums WHERE at < ?", time.time() - older_than_s)
