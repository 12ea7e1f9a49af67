"""The rows of generations with their outcomes, and what each user has spent."""

import asyncio
import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog

from backend.storage.database import Database, DatabaseAway, deliveries, generations, spending
from backend.storage.deliveries import DeliveryStore, owe
from backend.storage.row import (
    GenerationRow,
    Outcome,
    Unreadable,
    columns,
    placeholder,
    read,
    set_aside,
)
from gpu_server.schemas import State

__all__ = ["GenerationRow", "GenerationStore", "Outcome", "Taken"]

log = structlog.get_logger()

_AHEAD_S = 86_400.0
_column = generations.c
_public_id = sa.func.coalesce(_column.own_id, _column.id)
"""The id by which its owner knows a generation; an index has this expression."""


class Taken(Exception):
    """The id or the idempotency key belongs to another row."""


@dataclass(frozen=True)
class GenerationStore:
    """The rows. Every call is one transaction; see `Database` for what it raises."""

    database: Database
    unreadable: set[str] = field(default_factory=set)
    """The ids of rows that could not be read since the start; each was logged once."""
    tells_operator: bool = False
    """Whether a generation without a webhook of its own is told the operator's."""
    owed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when an end was committed that a webhook is to be told."""

    @property
    def deliveries(self) -> DeliveryStore:
        return DeliveryStore(database=self.database, read=self._read)

    async def add(self, row: GenerationRow) -> None:
        """Commit an accepted generation. Raises Taken."""
        spent = {"id": row.key, "who": _who(row.owner, row.user), "created": row.created}

        def insert(c: sa.Connection) -> None:
            c.execute(generations.insert().values(columns(row)))
            c.execute(spending.insert().values(**spent, images=row.request.count))

        try:
            await self.database.run(insert)
        except sa.exc.IntegrityError as error:
            raise Taken from error

    async def get(self, generation_id: UUID) -> GenerationRow | None:
        return await self._first(_column.id == str(generation_id))

    async def find(self, owner: str, public_id: UUID) -> GenerationRow | None:
        """Return the generation that this API key knows under an id."""
        return await self._first((_column.owner == owner) & (_public_id == str(public_id)))

    async def by_key(self, owner: str, key: str) -> GenerationRow | None:
        return await self._first((_column.owner == owner) & (_column.idempotency_key == key))

    async def unfinished(self) -> list[GenerationRow]:
        """Return unfinished rows, oldest first. A row that cannot be read is ended as failed."""
        query = (
            generations.select()
            .where(_column.ended.is_(None))
            .order_by(_column.created, _column.id)
        )
        found = await self.database.insist(lambda c: c.execute(query).mappings().all())
        rows = []
        for mapping in found:
            row = self._read(mapping)
            if row.ended is None:
                rows.append(row)
            else:
                await self._set_aside(mapping)
        return rows

    async def unfinished_ids(self) -> set[UUID]:
        """Return the ids of unfinished rows. One that is no UUID is ended as failed."""
        query = sa.select(_column.id).where(_column.ended.is_(None))
        ids = set()
        for text in await self.database.run(lambda c: list(c.scalars(query))):
            try:
                ids.add(UUID(text))
            except (AttributeError, TypeError, ValueError):
                self._tell(text, "id")
                await self._set_aside({"id": text})
        return ids

    async def on_pods_since(self, since: float) -> list[tuple[str, str]]:
        """Return (id, pod) of rows that ended after this Unix time."""
        query = sa.select(_column.id, _column.pod).where(_column.ended > since, _column.pod != "")
        return await self.database.run(lambda c: [(id_, pod) for id_, pod in c.execute(query)])

    async def known(self, ids: Collection[str]) -> set[str]:
        """Return which of these ids have a row."""
        query = sa.select(_column.id).where(_column.id.in_(ids))
        return await self.database.run(lambda c: set(c.scalars(query)))

    def _read(self, mapping: Mapping[Any, Any]) -> GenerationRow:
        try:
            return read(mapping)
        except Unreadable as error:
            self._tell(mapping["id"], str(error))
            return placeholder(mapping)

    def _tell(self, row_id: Any, column: str) -> None:
        if str(row_id) not in self.unreadable:
            self.unreadable.add(str(row_id))
            log.error("row_unreadable", generation_id=str(row_id), column=column)

    async def _set_aside(self, mapping: Mapping[Any, Any]) -> None:
        """End an unfinished row that cannot be read; the rest of it stays for the operator."""
        is_open = (_column.id == mapping["id"]) & _column.ended.is_(None)
        change = generations.update().where(is_open).values(set_aside())
        refund = spending.delete().where(spending.c.id == mapping["id"])

        def end(c: sa.Connection) -> None:
            if c.execute(change).rowcount:
                c.execute(refund)
                self._owe(c, mapping["id"])

        with suppress(DatabaseAway):  # the next look at it tries again
            await self.database.run(end)

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
        ended = {name: columns(row)[name] for name in ("status", "outcome", "ended")}
        is_open = (_column.id == row.key) & _column.ended.is_(None)
        change = generations.update().where(is_open).values(ended)
        refund = spending.delete().where(
            spending.c.id == row.key, spending.c.created == row.created
        )
        query = generations.select().where(_column.id == row.key)

        def commit(c: sa.Connection) -> GenerationRow | None:
            if not c.execute(change).rowcount:
                mapping = c.execute(query).mappings().first()
                return self._read(mapping) if mapping else None
            if row.status is State.failed:
                c.execute(refund)
            if row.request.webhook or self.tells_operator:
                self._owe(c, row.key)
            return row

        kept = await self.database.insist(commit)
        if row.request.webhook or self.tells_operator:
            self.owed.set()
        return kept

    def _owe(self, c: sa.Connection, key: str) -> None:
        """Record, in the transaction of its end, that a generation's webhook is to be told."""
        query = sa.select(_column.created, _column.webhook).where(_column.id == key)
        created, url = c.execute(query).one()
        if url or self.tells_operator:
            owe(c, key, created, url)

    async def page(
        self, owner: str, user: str | None, limit: int, before: tuple[float, str] | None
    ) -> list[GenerationRow]:
        """Return rows, newest first; `before` is (created, public id) of the row before them."""
        query = generations.select().where(_column.owner == owner)
        if user is not None:
            query = query.where(_column.user == user)
        if before is not None:
            query = query.where(sa.tuple_(_column.created, _public_id) < sa.tuple_(*before))
        return await self._all(
            query.order_by(_column.created.desc(), _public_id.desc()).limit(limit)
        )

    async def of_user(self, owner: str, user: str) -> list[GenerationRow]:
        return await self._all(
            generations.select().where(_column.owner == owner, _column.user == user)
        )

    async def ended_before(
        self, before: float, after: tuple[float, str] | None = None, limit: int = 500
    ) -> list[GenerationRow]:
        """Return rows in the order of their end; `after` is (ended, key) of the row before them."""
        query = generations.select().where(_column.ended < before)
        if after is not None:
            query = query.where(sa.tuple_(_column.ended, _column.id) > sa.tuple_(*after))
        return await self._all(query.order_by(_column.ended, _column.id).limit(limit))

    async def redate(self, now: float) -> None:
        """Let rows that ended in the future, by a wrong clock, age from now on."""
        ahead = generations.update().where(_column.ended > now + _AHEAD_S).values(ended=now)
        late = deliveries.update().where(deliveries.c.due > now + _AHEAD_S).values(due=now)
        await self.database.run(lambda c: c.execute(ahead))
        if await self.database.run(lambda c: c.execute(late).rowcount):
            self.owed.set()

    async def delete(self, rows: Sequence[GenerationRow]) -> None:
        keys = [row.key for row in rows]
        remove = generations.delete().where(_column.id.in_(keys))
        untold = deliveries.delete().where(deliveries.c.generation.in_(keys))
        await self.database.run(lambda c: (c.execute(remove), c.execute(untold)))

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
        if mapping is None:
            return None
        row = self._read(mapping)
        if mapping["ended"] is None and row.ended is not None:
            await self._set_aside(mapping)
        return row

    async def _all(self, query: sa.Select[Any]) -> list[GenerationRow]:
        mappings = await self.database.run(lambda c: c.execute(query).mappings().all())
        return [self._read(mapping) for mapping in mappings]


def _who(owner: str, user: str) -> str:
    return hashlib.sha256(f"{owner}\0{user}".encode()).hexdigest()
