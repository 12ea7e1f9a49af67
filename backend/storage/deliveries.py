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
_is_one = _column.id == sa.bindparam("of")
_REMOVE = deliveries.delete().where(_is_one)
_POSTPONE = (
    deliveries.update().where(_is_one).values(due=sa.bindparam("to"), tries=_column.tries + 1)
)
_DUE = (
    sa.select(deliveries, *(column.label(f"of_{column.name}") for column in generations.c))
    .join_from(deliveries, generations, generations.c.id == _column.generation, isouter=True)
    .where(_column.due <= sa.bindparam("now"))
    .where(_column.id.not_in(sa.bindparam("ids", expanding=True)))
    .where(_column.host.not_in(sa.bindparam("hosts", expanding=True)))
    .order_by(_column.due)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_REST = sa.select(
    sa.select(sa.func.count()).select_from(deliveries).scalar_subquery(),
    sa.select(sa.func.min(_column.due)).where(_column.due > sa.bindparam("now")).scalar_subquery(),
)


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


@dataclass(frozen=True)
class Turn:
    """What is due now, when more is, and the number of all that are owed."""

    due: list[Delivery]
    next_due: float | None
    pending: int


@dataclass(frozen=True, kw_only=True)
class DeliveryStore:
    """The deliveries. Every call is one transaction; see `Database` for what it raises."""

    database: Database
    read: Callable[[Mapping[Any, Any]], GenerationRow]

    async def turn(
        self,
        attempted: Mapping[str, float | None],
        *,
        now: float,
        limit: int,
        without: Collection[str],
        hosts_without: Collection[str],
    ) -> Turn:
        """Note what came of attempts (id → when to try again, None for never), then look.

        `without` are ids and `hosts_without` hosts to leave out of those due.
        """
        over = [{"of": id_} for id_, due in attempted.items() if due is None]
        again = [{"of": id_, "to": due} for id_, due in attempted.items() if due is not None]
        values = {"now": now, "limit": limit, "ids": [*without], "hosts": [*hosts_without]}

        def commit(c: sa.Connection) -> Turn:
            if over:
                c.execute(_REMOVE, over)
            if again:
                c.execute(_POSTPONE, again)
            found = c.execute(_DUE, values).mappings().all() if limit else []
            pending, next_due = c.execute(_REST, {"now": now}).one()
            return Turn([self._delivery(mapping) for mapping in found], next_due, pending)

        return await self.database.run(commit)

    def _delivery(self, mapping: Mapping[Any, Any]) -> Delivery:
        fields = {name: mapping[name] for name in ("id", "generation", "host", "due", "tries")}
        kept = {column.name: mapping[f"of_{column.name}"] for column in generations.c}
        return Delivery(**fields, row=None if kept["id"] is None else self.read(kept))


def owe(c: sa.Connection, generation: str, created: object, url: str | None) -> None:
    """Add a delivery, in the transaction of its generation's end."""
    # The id is derived, also from the time: a generation may have the id of one that was deleted.
    own_id = uuid5(NAMESPACE_URL, f"easel:{generation}/{created}/ended")
    row = {"id": str(own_id), "generation": generation, "host": _host_of(url)}
    c.execute(deliveries.insert().values(**row, due=time.time(), tries=0))


def _host_of(url: str | None) -> str:
    if not url:
        return OPERATOR
    try:
        return (urlsplit(url).hostname or "?")[:255]
    except ValueError:  # nothing may be in the way of a generation's end
        return "?"
