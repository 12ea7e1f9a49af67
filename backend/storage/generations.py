"""The rows of generations with their outcomes, and what each user has spent."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self
from uuid import UUID

import sqlalchemy as sa
import structlog
from pydantic import BaseModel, ConfigDict, Field

from backend.schemas import GenerationRequest
from backend.storage.database import Database, generations, spending
from gpu_server.schemas import ImageInfo, State, Timings
from web import errors

log = structlog.get_logger()

_column = generations.c
_PLAIN_COLUMNS = ("owner", "fingerprint", "created", "pod", "ended", "idempotency_key")


class Outcome(BaseModel):
    """The final record of a generation. `progress` is how far it got, 0 to 1."""

    model_config = ConfigDict(frozen=True)

    status: State = Field(exclude=True)
    """Has a column of its own."""
    engine: str = ""
    timings: Timings = Timings()
    images: tuple[ImageInfo, ...] = ()
    error: errors.Problem | None = None
    progress: float = 0.0

    @classmethod
    def failed(cls, error: errors.EaselError, **facts: Any) -> Self:
        return cls(status=State.failed, error=error.problem(), **facts)

    @classmethod
    def cancelled(cls, **facts: Any) -> Self:
        return cls(status=State.cancelled, **facts)

    @property
    def failure(self) -> errors.EaselError | None:
        """The error as an exception."""
        return errors.error_from(self.error) if self.error else None


@dataclass(frozen=True, kw_only=True)
class GenerationRow:
    """One generation as kept, complete: any pod can draw it at any time.

    `owner` is the name of the API key. `request` has every value filled in. Times are Unix seconds.
    """

    id: UUID
    owner: str
    fingerprint: str
    request: GenerationRequest
    model: str
    timeout_s: float
    has_photo: bool
    created: float
    status: State = State.queued
    pod: str | None = None
    ended: float | None = None
    outcome: Outcome | None = None
    idempotency_key: str | None = None

    @property
    def user(self) -> str:
        return self.request.user

    @property
    def whose(self) -> str:
        """Whose turn it takes: the same name under two API keys means two people."""
        return f"{self.owner}/{self.user}"

    @property
    def style(self) -> str:
        """`mode/style`, as pods report what they can draw."""
        return f"{self.request.mode}/{self.request.style}"

    def ended_with(self, outcome: Outcome) -> "GenerationRow":
        return replace(self, status=outcome.status, ended=time.time(), outcome=outcome)


class Taken(Exception):
    """The id or the idempotency key belongs to another row."""


@dataclass(frozen=True)
class GenerationStore:
    """The rows. Every call is one transaction; see `Database` for what it raises."""

    database: Database

    async def add(self, row: GenerationRow) -> None:
        """Commit an accepted generation. Raises Taken."""
        spent = {"id": str(row.id), "who": _who(row.owner, row.user), "created": row.created}

        def insert(c: sa.Connection) -> None:
            c.execute(generations.insert().values(_columns(row)))
            c.execute(spending.insert().values(**spent, images=row.request.count))

        try:
            await self.database.run(insert)
        except sa.exc.IntegrityError as error:
            raise Taken from error

    async def get(self, generation_id: UUID) -> GenerationRow | None:
        return await self._first(_column.id == str(generation_id))

    async def by_key(self, owner: str, key: str) -> GenerationRow | None:
        return await self._first((_column.owner == owner) & (_column.idempotency_key == key))

    async def unfinished(self) -> list[GenerationRow]:
        """Return unfinished rows, oldest first. A row that cannot be read is ended as failed."""
        query = (
            generations.select()
            .where(_column.ended.is_(None))
            .order_by(_column.created, _column.id)
        )
        rows = []
        for mapping in await self.database.insist(lambda c: c.execute(query).mappings().all()):
            try:
                rows.append(_read(mapping))
            except (KeyError, TypeError, ValueError) as error:
                log.exception("row_unreadable", generation_id=mapping["id"], error=str(error))
                await self._give_up(mapping)
        return rows

    async def _give_up(self, mapping: sa.RowMapping) -> None:
        """End a row whose request cannot be read, so that it can be read from now on."""
        order = _order(GenerationRequest(mode="", style=""), "", 0.0, has_photo=False)
        repair = generations.update().where(_column.id == mapping["id"]).values(order=order)
        await self.database.insist(lambda c: c.execute(repair))
        row = _read({**mapping, "order": order, "status": State.queued, "outcome": None})
        await self.end(row.ended_with(Outcome.failed(errors.Internal())))

    async def unfinished_ids(self) -> set[UUID]:
        query = sa.select(_column.id).where(_column.ended.is_(None))
        return await self.database.run(lambda c: set(map(UUID, c.scalars(query))))

    async def set_pod(self, generation_id: UUID, pod: str, known: str | None) -> bool:
        """Commit the pod before it is asked, so that a restart asks the same one.

        Return False when the generation has ended or has another pod than `known`: another process
        has taken it over.
        """
        # Also this pod: an earlier try may have committed it and lost the answer.
        is_ours = _column.pod.is_not_distinct_from(known) | (_column.pod == pod)
        change = (
            generations.update()
            .where(_column.id == str(generation_id), _column.ended.is_(None), is_ours)
            .values(pod=pod)
        )
        return await self.database.insist(lambda c: c.execute(change).rowcount == 1)

    async def end(self, row: GenerationRow) -> GenerationRow | None:
        """Commit the outcome; a failure refunds what was spent.

        Return the row as kept now: it may have ended otherwise before. None when it was deleted.
        """
        ended = {name: _columns(row)[name] for name in ("status", "outcome", "ended")}
        is_open = (_column.id == str(row.id)) & _column.ended.is_(None)
        change = generations.update().where(is_open).values(ended)
        refund = spending.delete().where(
            spending.c.id == str(row.id), spending.c.created == row.created
        )
        query = generations.select().where(_column.id == str(row.id))

        def commit(c: sa.Connection) -> GenerationRow | None:
            if not c.execute(change).rowcount:
                mapping = c.execute(query).mappings().first()
                return _read(mapping) if mapping else None
            if row.status is State.failed:
                c.execute(refund)
            return row

        return await self.database.insist(commit)

    async def page(
        self, owner: str, user: str | None, limit: int, before: tuple[float, str] | None
    ) -> list[GenerationRow]:
        """Return rows, newest first; `before` is the (created, id) of the previous page's last."""
        query = generations.select().where(_column.owner == owner)
        if user is not None:
            query = query.where(_column.user == user)
        if before is not None:
            query = query.where(sa.tuple_(_column.created, _column.id) < sa.tuple_(*before))
        return await self._all(
            query.order_by(_column.created.desc(), _column.id.desc()).limit(limit)
        )

    async def of_user(self, owner: str, user: str) -> list[GenerationRow]:
        return await self._all(
            generations.select().where(_column.owner == owner, _column.user == user)
        )

    async def ended_before(self, before: float, limit: int = 500) -> list[GenerationRow]:
        return await self._all(generations.select().where(_column.ended < before).limit(limit))

    async def delete(self, ids: Sequence[UUID]) -> None:
        remove = generations.delete().where(_column.id.in_(list(map(str, ids))))
        await self.database.run(lambda c: c.execute(remove))

    async def spent(self, owner: str, user: str, since: float) -> list[tuple[float, int]]:
        """Return what counts against a user's limits: (time, images), oldest first."""
        t = spending.c
        query = (
            sa.select(t.created, t.images)
            .where(t.who == _who(owner, user), t.created > since)
            .order_by(t.created)
        )
        return await self.database.run(lambda c: [(at, images) for at, images in c.execute(query)])

    async def forget_spending(self, before: float) -> None:
        forget = spending.delete().where(spending.c.created < before)
        await self.database.run(lambda c: c.execute(forget))

    async def _first(self, condition: sa.ColumnElement[bool]) -> GenerationRow | None:
        query = generations.select().where(condition)
        mapping = await self.database.run(lambda c: c.execute(query).mappings().first())
        return _read(mapping) if mapping else None

    async def _all(self, query: sa.Select[Any]) -> list[GenerationRow]:
        mappings = await self.database.run(lambda c: c.execute(query).mappings().all())
        return [_read(mapping) for mapping in mappings]


def _who(owner: str, user: str) -> str:
    return hashlib.sha256(f"{owner}\0{user}".encode()).hexdigest()


def _columns(row: GenerationRow) -> dict[str, Any]:
    columns = {
        **{name: getattr(row, name) for name in _PLAIN_COLUMNS},
        "id": str(row.id),
        "user": row.user,
        "order": _order(row.request, row.model, row.timeout_s, has_photo=row.has_photo),
        "count": row.request.count,
        "status": row.status.value,
    }
    # Without an outcome the column stays NULL; None would become JSON's null.
    return columns | ({"outcome": row.outcome.model_dump()} if row.outcome else {})


def _order(
    request: GenerationRequest, model: str, timeout_s: float, *, has_photo: bool
) -> dict[str, Any]:
    """Return the column `order`. Its shape is the first release's: both read the other's rows."""
    return {
        "mode": request.mode,
        "style": request.style,
        "values": dict(request.values),
        "format": request.format,
        "priority": request.priority,
        "model": model,
        "timeout_s": timeout_s,
        "has_photo": has_photo,
    }


def _read(mapping: Mapping[Any, Any]) -> GenerationRow:
    order = dict(mapping["order"])
    own = {name: order.pop(name) for name in ("model", "timeout_s", "has_photo")}
    status = State(mapping["status"])
    outcome = mapping["outcome"]
    return GenerationRow(
        **{name: mapping[name] for name in _PLAIN_COLUMNS},
        **own,
        id=UUID(mapping["id"]),
        request=GenerationRequest(user=mapping["user"], **order.pop("values"), **order),
        status=status,
        outcome=None if outcome is None else Outcome(status=status, **outcome),
    )
