"""What is owed to which chat: one row per generation, from the wish to the picture."""

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from telegram_bot.storage.database import Database

DAY_S = 86400.0


class State(StrEnum):
    """`waiting`: not yet taken by the backend; `accepted`: it has it.

    `cancelling`: to be stopped, which its message does not say yet; `revoking`: its message has
    come to its end, but the backend has not been told.
    """

    waiting = "waiting"
    accepted = "accepted"
    cancelling = "cancelling"
    revoking = "revoking"
    delivered = "delivered"
    failed = "failed"
    cancelled = "cancelled"


OWED = (State.waiting, State.accepted, State.cancelling, State.revoking)


@dataclass(frozen=True)
class Delivery:
    """`photo` is where the photo to restyle comes from: `file:<file id>` or `made:<uuid>:<n>`.

    `unsure`: a message was sent, but whether it arrived, and as which, is not known.
    `file_id` is Telegram's for the delivered photo. `request` is what the backend was asked.
    """

    generation: UUID
    user_id: int
    chat_id: int
    origin: str
    request: Mapping[str, Any]
    state: State = State.waiting
    photo: str | None = None
    message_id: int | None = None
    reply_to: int | None = None
    unsure: bool = False
    holds_media: bool = False
    file_id: str | None = None
    favourite: bool = False
    created_at: float = 0.0

    @property
    def ended(self) -> bool:
        return self.state not in OWED

    @property
    def can_be_retried(self) -> bool:
        """Whether its message has come to an end without a picture."""
        return self.state in (State.failed, State.cancelled, State.revoking)

    @property
    def age_s(self) -> float:
        return time.time() - self.created_at


class Deliveries:
    """The rows, by generation id."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def owe(self, delivery: Delivery) -> bool:
        """Write it down; False when this generation is known already."""
        columns = (
            "generation, user_id, chat_id, message_id, reply_to, holds_media, origin, request, "
            "photo, state, created_at"
        )
        added = self._db.run(
            f"INSERT OR IGNORE INTO deliveries ({columns}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608 - no input
            str(delivery.generation),
            delivery.user_id,
            delivery.chat_id,
            delivery.message_id,
            delivery.reply_to,
            delivery.holds_media,
            delivery.origin,
            json.dumps(dict(delivery.request), ensure_ascii=False),
            delivery.photo,
            delivery.state,
            delivery.created_at or time.time(),
        )
        return added == 1

    def get(self, generation: UUID) -> Delivery | None:
        row = self._db.row("SELECT * FROM deliveries WHERE generation = ?", str(generation))
        return _delivery(row) if row else None

    def owed(self) -> list[Delivery]:
        """Everything not at its end, oldest first."""
        marks = ",".join("?" * len(OWED))
        query = f"SELECT * FROM deliveries WHERE state IN ({marks}) ORDER BY created_at"  # noqa: S608
        return [_delivery(row) for row in self._db.rows(query, *OWED)]

    def under_way(self, user_id: int, chat_id: int) -> list[Delivery]:
        """The person's in this chat that may still bring a picture, newest first."""
        going = (State.waiting, State.accepted)
        mine = (user_id, chat_id)
        found = [d for d in self.owed() if d.state in going and (d.user_id, d.chat_id) == mine]
        return found[::-1]

    def move(self, generation: UUID, state: State) -> None:
        self._db.run("UPDATE deliveries SET state = ? WHERE generation = ?", state, str(generation))

    def place(
        self, generation: UUID, chat_id: int, message_id: int | None, unsure: bool, media: bool
    ) -> None:
        """Where its message is, and whether it is a photo by now."""
        self._db.run(
            "UPDATE deliveries SET chat_id = ?, message_id = ?, unsure = ?, holds_media = ?"
            " WHERE generation = ?",
            *(chat_id, message_id, unsure, media, str(generation)),
        )

    def delivered(self, generation: UUID, file_id: str | None) -> None:
        """At its end: the words are kept by the backend alone from now on."""
        self._db.run(
            "UPDATE deliveries SET state = ?, file_id = ?, request = '{}' WHERE generation = ?",
            *(State.delivered, file_id, str(generation)),
        )

    def is_taken(self, chat_id: int, message_id: int) -> bool:
        """Whether this message is known to show a generation."""
        query = "SELECT count(*) FROM deliveries WHERE chat_id = ? AND message_id = ?"
        return self._db.count(query, chat_id, message_id) > 0

    def star(self, generation: UUID, starred: bool) -> None:
        self._db.run(
            "UPDATE deliveries SET favourite = ? WHERE generation = ?", starred, str(generation)
        )

    def seconds_since(self, user_id: int, origin: str) -> float | None:
        """How long ago this very button was pressed last; None when never."""
        row = self._db.row(
            "SELECT max(created_at) AS at FROM deliveries WHERE user_id = ? AND origin = ?",
            *(user_id, origin),
        )
        return time.time() - row["at"] if row and row["at"] else None

    def shown(self, user_id: int, offset: int, favourites: bool = False) -> Delivery | None:
        """The person's delivered pictures, newest first, counted from 0."""
        row = self._db.row(
            "SELECT * FROM deliveries WHERE user_id = ? AND state = 'delivered' AND favourite >= ?"
            " ORDER BY created_at DESC, rowid DESC LIMIT 1 OFFSET ?",
            *(user_id, favourites, offset),
        )
        return _delivery(row) if row else None

    def place_of(self, delivery: Delivery) -> int:
        """Where `shown` has this one, favourites or not."""
        return self._db.count(
            "SELECT count(*) FROM deliveries WHERE user_id = ? AND state = 'delivered'"
            " AND (created_at, rowid) > (SELECT created_at, rowid FROM deliveries"
            " WHERE generation = ?)",
            *(delivery.user_id, str(delivery.generation)),
        )

    def count_shown(self, user_id: int, favourites: bool = False) -> int:
        return self._db.count(
            "SELECT count(*) FROM deliveries WHERE user_id = ? AND state = 'delivered'"
            " AND favourite >= ?",
            *(user_id, favourites),
        )

    def count_by_state(self, since: float) -> dict[str, int]:
        rows = self._db.rows(
            "SELECT state, count(*) AS n FROM deliveries WHERE created_at > ? GROUP BY state", since
        )
        return {row["state"]: row["n"] for row in rows}

    def of_user(self, user_id: int) -> list[UUID]:
        rows = self._db.rows("SELECT generation FROM deliveries WHERE user_id = ?", user_id)
        return [UUID(row["generation"]) for row in rows]

    def forget(self, generation: UUID) -> None:
        self._db.run("DELETE FROM deliveries WHERE generation = ?", str(generation))

    def forget_ended(self, days: int) -> int:
        """Delete what ended that long ago; the backend has deleted its pictures by then."""
        self._db.run("DELETE FROM reports WHERE at < ?", time.time() - days * DAY_S)
        return self._db.run(
            "DELETE FROM deliveries WHERE created_at < ?"
            " AND state IN ('delivered', 'failed', 'cancelled')",
            time.time() - days * DAY_S,
        )

    def report(self, generation: UUID, user_id: int) -> bool:
        """Count a report; False when this person has reported it already."""
        added = self._db.run(
            "INSERT OR IGNORE INTO reports VALUES (?, ?, ?)",
            *(str(generation), user_id, time.time()),
        )
        return added == 1

    def reported(self, limit: int = 10) -> list[tuple[UUID, int]]:
        """The generations reported most lately, with how many people did."""
        rows = self._db.rows(
            "SELECT generation, count(*) AS n, max(at) AS last FROM reports GROUP BY generation"
            " ORDER BY last DESC LIMIT ?",
            limit,
        )
        return [(UUID(row["generation"]), int(row["n"])) for row in rows]

    def count_reports(self) -> int:
        return self._db.count("SELECT count(*) FROM reports")


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(
        generation=UUID(row["generation"]),
        user_id=row["user_id"],
        chat_id=row["chat_id"],
        origin=row["origin"],
        request=json.loads(row["request"]),
        state=State(row["state"]),
        photo=row["photo"],
        message_id=row["message_id"],
        reply_to=row["reply_to"],
        unsure=bool(row["unsure"]),
        holds_media=bool(row["holds_media"]),
        file_id=row["file_id"],
        favourite=bool(row["favourite"]),
        created_at=row["created_at"],
    )
