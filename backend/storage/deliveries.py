"""Ends of generations that a webhook is still to be told, one row each.

A row is committed with the end, and deleted when the receiver has taken it, when it is given up, or
with its generation.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, UUID, uuid5

import sqlalchemy as sa

from backend.storage.database import Database, deliveries, generations
from backend.storage.row import GenerationRow

OPERATOR = ""
"""The host of deliveries to the operator's own webhook, wherever that is when they are tried."""
_column = deliveries.c


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An end to be told; `tries` is the number of attempts so far, `due` the time of the next."""

    id: str
    generation: str
    host: str
    due: float
    tries: int
    row: GenerationRow | None
    """None if the generation was deleted by a release that knows no deliveries."""

    @property
    def message_id(self) -> str:
        """The id that the receiver sees, the same in each attempt."""
        return f"msg_{UUID(self.id).hex}"


@dataclass(frozen=True, kw_only=True)
class DeliveryStore:
    """The deliveries. Every call is one transaction; see `Database` for what it raises."""

    database: Database
    read: Callable[[Mapping[Any, Any]], GenerationRow]

    async def record(self, attempted: Mapping[str, float | None]) -> None:
        """Note what came of attempts: id → when to try again, None for never."""
        over = [id_ for id_, due in attempted.items() if due is None]
        changes = [{"of": id_, "to": due} for id_, due in attempted.items() if due is not None]
        remove = deliveries.delete().where(_column.id.in_(over))
        postpone = (
            deliveries.update()
            .where(_column.id == sa.bindparam("of"))
            .values(due=sa.bindparam("to"), tries=_column.tries + 1)
        )

        def commit(c: sa.Connection) -> None:
            c.execute(remove)
            if changes:
                c.execute(postpone, changes)

        await self.database.run(commit)

    async def soonest(
        self, limit: int, *, without: Collection[str], hosts_without: Collection[str]
    ) -> tuple[list[Delivery], int]:
        """Return those due first, and how many there are in all.

        `without` are ids and `hosts_without` hosts to leave out.
        """
        query = (
            sa.select(deliveries, *(column.label(f"of_{column.name}") for column in generations.c))
            .join_from(
                deliveries, generations, generations.c.id == _column.generation, isouter=True
            )
            .where(_column.id.not_in(without), _column.host.not_in(hosts_without))
            .order_by(_column.due)
            .limit(limit)
        )
        count = sa.select(sa.func.count()).select_from(deliveries)
        mappings, number = await self.database.run(
            lambda c: (c.execute(query).mappings().all(), c.scalar(count) or 0)
        )
        return [self._delivery(mapping) for mapping in mappings], number

    def _delivery(self, mapping: Mapping[Any, Any]) -> Delivery:
        fields = {name: mapping[name] for name in ("id", "generation", "host", "due", "tries")}
        kept = {column.name: mapping[f"of_{column.name}"] for column in generations.c}
        return Delivery(**fields, row=None if kept["id"] is None else self.read(kept))


def owe(c: sa.Connection, generation: str, created: object, url: str | None) -> None:
    """Add a delivery, in the transaction of its generation's end."""
    # The id is derived, also from the time: a generation may have the id of one that was deleted.
    own_id = uuid5(NAMESPACE_URL, f"easel:{generation}/{created}/ended")
    host = (urlsplit(url).hostname or "") if url else OPERATOR
    row = {"id": str(own_id), "generation": generation, "host": host[:255]}
    c.execute(deliveries.insert().values(**row, due=time.time(), tries=0))
