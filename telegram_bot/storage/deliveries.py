"""Which picture is due in which chat: one row per generation, from the request to its expiry."""

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

import structlog
from pydantic import TypeAdapter, ValidationError

from backend.schemas import GenerationRequest
from telegram_bot.storage import lenient
from telegram_bot.storage.database import Database

DAY_S = 86400.0


class State(StrEnum):
    """The state of a delivery.

    `waiting`: the backend does not have the request yet; `accepted`: it has.
    `cancelling`: the person cancelled it, and its message does not show that yet.
    `revoking`: its message shows how it ended, but the backend has not been told.
    """

    waiting = "waiting"
    accepted = "accepted"
    cancelling = "cancelling"
    revoking = "revoking"
    delivered = "delivered"
    failed = "failed"
    cancelled = "cancelled"


PENDING = (State.waiting, State.accepted, State.cancelling, State.revoking)
"""The states that need work, also after a restart."""


@dataclass(frozen=True)
class Delivery:
    """A row: its fields are the columns.

    `request` is what the backend is sent; it is emptied once the picture is delivered.
    `photo` is the source of the photo to restyle: `file:<file id>` or `made:<uuid>:<n>`; of
    several, a JSON object by parameter.
    `unsure`: a message was sent, but whether it arrived, and under which id, is not known.
    `file_id` is Telegram's for the delivered photo.
    """

    generation: UUID
    user_id: int
    chat_id: int
    origin: str
    request: GenerationRequest
    state: State = State.waiting
    photo: str | None = None
    message_id: int | None = None
    reply_to: int | None = None
    unsure: bool = False
    holds_media: bool = False
    file_id: str | None = None
    favourite: bool = False
    created_at: float = field(default_factory=time.time)

    @property
    def ended(self) -> bool:
        return self.state not in PENDING

    @property
    def message_ended(self) -> bool:
        """Whether its message shows how it ended, with a picture or without."""
        return self.ended or self.state is State.revoking

    @property
    def can_be_retried(self) -> bool:
        """Whether its message shows that it ended without a picture."""
        return self.message_ended and self.state is not State.delivered

    @property
    def age_s(self) -> float:
        return time.time() - self.created_at


_ROW = TypeAdapter(Delivery)
log = structlog.get_logger("telegram_bot.storage.deliveries")


class Deliveries:
    def __init__(self, database: Database) -> None:
        self._db = database

    def add(self, delivery: Delivery) -> bool:
        """Insert a row; False if its generation is known already."""
        columns = _ROW.dump_python(delivery, mode="json")
        columns["request"] = delivery.request.model_dump_json(exclude_unset=True)
        names, places = ", ".join(columns), ", ".join("?" * len(columns))
        statement = f"INSERT OR IGNORE INTO deliveries ({names}) VALUES ({places})"  # noqa: S608 - no input
        return self._db.run(statement, *columns.values()) == 1

    def get(self, generation: UUID) -> Delivery | None:
        return next(iter(self._where("generation = ?", str(generation))), None)

    def pending(self) -> list[Delivery]:
        """Return the rows that need work, oldest first."""
        places = ",".join("?" * len(PENDING))
        return self._where(f"state IN ({places}) ORDER BY created_at", *PENDING)

    def count_pending(self) -> int:
        return self._count(f"state IN ({','.join('?' * len(PENDING))})", *PENDING)

    def in_progress(self, user_id: int, chat_id: int) -> list[Delivery]:
        """Return what may still bring this person a picture in this chat, newest first."""
        return self._where(
            "state IN ('waiting', 'accepted') AND user_id = ? AND chat_id = ?"
            " ORDER BY created_at DESC",
            *(user_id, chat_id),
        )

    def set_state(self, generation: UUID, state: State) -> None:
        statement = "UPDATE deliveries SET state = ? WHERE generation = ?"
        self._db.note_down(statement, state, str(generation))

    def set_message(self, delivery: Delivery) -> None:
        """Write where its message is and what is known of it; no other column."""
        self._db.note_down(
            "UPDATE deliveries SET chat_id = ?, message_id = ?, unsure = ?, holds_media = ?"
            " WHERE generation = ?",
            *(delivery.chat_id, delivery.message_id, delivery.unsure, delivery.holds_media),
            str(delivery.generation),
        )

    def set_delivered(self, generation: UUID, file_id: str | None) -> None:
        """Write that the picture was delivered; from now on only the backend keeps the prompt."""
        self._db.note_down(
            "UPDATE deliveries SET state = ?, file_id = ?, request = '{}' WHERE generation = ?",
            *(State.delivered, file_id, str(generation)),
        )

    def has_message(self, chat_id: int, message_id: int) -> bool:
        """Return whether this message is known to show a generation."""
        return self._count("chat_id = ? AND message_id = ?", chat_id, message_id) > 0

    def star(self, generation: UUID, starred: bool) -> None:
        statement = "UPDATE deliveries SET favourite = ? WHERE generation = ?"
        self._db.run(statement, starred, str(generation))

    def seconds_since(self, user_id: int, origin: str) -> float | None:
        """Return how long ago this very button was last pressed; None if never."""
        query = "SELECT max(created_at) AS at FROM deliveries WHERE user_id = ? AND origin = ?"
        row = self._db.row(query, user_id, origin)
        return time.time() - row["at"] if row and row["at"] else None

    def shown(self, user_id: int, offset: int, favourites: bool = False) -> Delivery | None:
        """Return the delivered generation at `offset`, counted from 0 for the newest."""
        rows = self._where(
            "user_id = ? AND state = 'delivered' AND favourite >= ?"
            " ORDER BY created_at DESC, rowid DESC LIMIT 1 OFFSET ?",
            *(user_id, favourites, offset),
        )
        return rows[0] if rows else None

    def offset_of(self, delivery: Delivery) -> int:
        """Return the offset at which `shown` has this one among all, favourites or not."""
        return self._count(
            "user_id = ? AND state = 'delivered' AND (created_at, rowid) >"
            " (SELECT created_at, rowid FROM deliveries WHERE generation = ?)",
            *(delivery.user_id, str(delivery.generation)),
        )

    def count_shown(self, user_id: int, favourites: bool = False) -> int:
        where = "user_id = ? AND state = 'delivered' AND favourite >= ?"
        return self._count(where, user_id, favourites)

    def count_by_state(self, since: float) -> dict[str, int]:
        rows = self._db.rows(
            "SELECT state, count(*) AS n FROM deliveries WHERE created_at > ? GROUP BY state", since
        )
        return {row["state"]: row["n"] for row in rows}

    def of_user(self, user_id: int) -> list[UUID]:
        rows = self._db.rows("SELECT generation FROM deliveries WHERE user_id = ?", user_id)
        return [known for row in rows if (known := _uuid(row["generation"]))]

    def forget(self, generation: UUID) -> None:
        self._db.run("DELETE FROM deliveries WHERE generation = ?", str(generation))

    def forget_ended(self, days: int) -> None:
        """Delete rows and reports of that age; the backend has deleted the pictures by then."""
        before = time.time() - days * DAY_S
        self._db.note_down("DELETE FROM reports WHERE at < ?", before)
        ended = "state IN ('delivered', 'failed', 'cancelled')"
        self._db.note_down(f"DELETE FROM deliveries WHERE created_at < ? AND {ended}", before)  # noqa: S608

    def report(self, generation: UUID, user_id: int) -> bool:
        """Count a report; False if this person has reported it before."""
        values = (str(generation), user_id, time.time())
        return self._db.run("INSERT OR IGNORE INTO reports VALUES (?, ?, ?)", *values) == 1

    def reported(self, limit: int = 10) -> list[tuple[UUID, int]]:
        """Return the generations last reported, each with the number of people who did."""
        rows = self._db.rows(
            "SELECT generation, count(*) AS n, max(at) AS last FROM reports GROUP BY generation"
            " ORDER BY last DESC LIMIT ?",
            limit,
        )
        ids = ((_uuid(row["generation"]), int(row["n"])) for row in rows)
        return [(generation, n) for generation, n in ids if generation]

    def count_reports(self) -> int:
        return self._db.count("SELECT count(*) FROM reports")

    def _where(self, clauses: str, *values: object) -> list[Delivery]:
        rows = self._db.rows(f"SELECT * FROM deliveries WHERE {clauses}", *values)  # noqa: S608
        return [delivery for row in rows if (delivery := _delivery(dict(row)))]

    def _count(self, clauses: str, *values: object) -> int:
        return self._db.count(f"SELECT count(*) FROM deliveries WHERE {clauses}", *values)  # noqa: S608


def _delivery(row: dict[str, Any]) -> Delivery | None:
    """Read a row; None for one that cannot be read, so that it keeps nobody from the others.

    A request that cannot be read is empty: the backend may know the generation by its id.
    """
    request = lenient.read(GenerationRequest, row["request"])
    try:
        return _ROW.validate_python({**row, "request": request or GenerationRequest()})
    except ValidationError as error:
        columns = sorted({str(fault["loc"][0]) for fault in error.errors() if fault["loc"]})
        log.warning("delivery_unreadable", generation_id=row["generation"], columns=columns)
        return None


def _uuid(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None
