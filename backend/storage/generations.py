"""What is kept of generations: a row each, and their pictures in files or an object store."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import obstore
import sqlalchemy as sa
import structlog
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import from_url

from backend.storage.database import Database, generations, spending
from backend.storage.recent_images import RecentImages
from gpu_server.pictures.formats import ImageFormat
from gpu_server.schemas import State
from web import errors
from workflows.parameters import Request

log = structlog.get_logger()


@dataclass(frozen=True)
class Order:
    """What was accepted: complete, so that it can be drawn at any time by any pod."""

    request: Request
    format: ImageFormat
    priority: int
    model: str
    timeout_s: float
    has_photo: bool

    @property
    def style(self) -> str:
        """`mode/style`, as pods tell what they can draw."""
        return f"{self.request.mode}/{self.request.style}"

    def as_json(self) -> dict[str, Any]:
        return {
            "mode": self.request.mode,
            "style": self.request.style,
            "values": dict(self.request.values),
            "format": self.format,
            "priority": self.priority,
            "model": self.model,
            "timeout_s": self.timeout_s,
            "has_photo": self.has_photo,
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Order":
        request = Request(mode=kept["mode"], style=kept["style"], **kept["values"])
        names = ("format", "priority", "model", "timeout_s", "has_photo")
        return cls(request, **{name: kept[name] for name in names})


_NO_ORDER = Order(Request(mode="", style=""), "png", 0, "", 0.0, has_photo=False)


@dataclass(frozen=True)
class Row:
    """One generation as kept. `owner` is the API key's name, `user` what the caller calls them."""

    id: UUID
    owner: str
    user: str
    fingerprint: str
    order: Order
    created: float
    status: State = State.queued
    pod: str | None = None
    ended: float | None = None
    outcome: dict[str, Any] | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class Spent:
    """What counts against a user's limits since yesterday: (time, pictures), oldest first."""

    generations: tuple[tuple[float, int], ...]


IMAGE_ERRORS = (BaseError, OSError)
"""What the picture store may raise while it is away."""


class Taken(Exception):
    """The id or the idempotency key is another row's."""


class Store:
    def __init__(self, database: Database, images_url: str) -> None:
        self._db = database
        self._url = images_url
        self._images: Any = None
        self._recent = RecentImages()

    async def open(self) -> None:
        await self._db.open()
        if self._url.startswith("file://"):
            folder = Path(unquote(self._url.removeprefix("file://")))
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        self._images = from_url(self._url)

    # -- rows ----------------------------------------------------------------------------

    async def add(self, row: Row) -> None:
        """Commit an accepted generation; raises Taken."""
        values = {
            "id": str(row.id),
            "owner": row.owner,
            "user": row.user,
            "idempotency_key": row.idempotency_key,
            "fingerprint": row.fingerprint,
            "order": row.order.as_json(),
            "count": row.order.request.count,
            "status": row.status.value,
            "pod": row.pod,
            "created": row.created,
        }
        spent = {
            "id": str(row.id),
            "who": _who(row.owner, row.user),
            "created": row.created,
            "images": row.order.request.count,
        }

        def insert(c: sa.Connection) -> None:
            c.execute(generations.insert().values(values))
            c.execute(spending.insert().values(spent))

        try:
            await self._db.run(insert)
        except sa.exc.IntegrityError as error:
            raise Taken from error

    async def get(self, generation_id: UUID) -> Row | None:
        query = generations.select().where(generations.c.id == str(generation_id))
        return _row(await self._db.run(lambda c: c.execute(query).mappings().first()))

    async def by_key(self, owner: str, key: str) -> Row | None:
        query = generations.select().where(
            generations.c.owner == owner, generations.c.idempotency_key == key
        )
        return _row(await self._db.run(lambda c: c.execute(query).mappings().first()))

    async def unfinished(self) -> list[Row]:
        """In the order they were accepted. What cannot be read is ended as failed."""
        query = (
            generations.select()
            .where(generations.c.ended.is_(None))
            .order_by(generations.c.created, generations.c.id)
        )
        rows = []
        for found in await self._db.insist(lambda c: c.execute(query).mappings().all()):
            try:
                rows.append(_read(found))
            except (KeyError, TypeError, ValueError) as error:
                log.exception("row_unreadable", generation_id=found["id"], error=str(error))
                await self._give_up(found)
        return rows

    async def _give_up(self, found: Any) -> None:
        """End a row whose order cannot be read, so that it can be from then on."""
        change = generations.update().where(generations.c.id == found["id"])
        await self._db.insist(lambda c: c.execute(change.values(order=_NO_ORDER.as_json())))
        outcome = {"error": errors.Internal().problem().model_dump()}
        ended = {"status": State.failed.value, "outcome": outcome, "ended": time.time()}
        await self.end(_read({**found, **ended, "order": _NO_ORDER.as_json()}))

    async def unfinished_ids(self) -> set[UUID]:
        query = sa.select(generations.c.id).where(generations.c.ended.is_(None))
        return await self._db.run(lambda c: set(map(UUID, c.scalars(query))))

    async def set_pod(self, generation_id: UUID, pod: str, known: str | None) -> bool:
        """Commit which pod draws it, before the pod is asked: so a restart asks the same one.

        False when it has ended, or has another pod than `known`: somebody else sees to it.
        """
        t = generations.c
        ours = t.pod.is_not_distinct_from(known) | (t.pod == pod)  # or committed and not heard of
        change = (
            generations.update()
            .where(t.id == str(generation_id), t.ended.is_(None), ours)
            .values(pod=pod)
        )
        return await self._db.insist(lambda c: c.execute(change).rowcount == 1)

    async def end(self, row: Row) -> Row | None:
        """Commit how it ended, a failure with a refund. The row as it is kept now, which may have
        been ended before and otherwise; None when it was deleted."""
        t = generations.c
        change = (
            generations.update()
            .where(t.id == str(row.id), t.ended.is_(None))
            .values(status=row.status.value, outcome=row.outcome, ended=row.ended)
        )
        refund = spending.delete().where(
            spending.c.id == str(row.id), spending.c.created == row.created
        )
        query = generations.select().where(t.id == str(row.id))

        def commit(c: sa.Connection) -> Row | None:
            if not c.execute(change).rowcount:
                return _row(c.execute(query).mappings().first())
            if row.status is State.failed:
                c.execute(refund)
            return row

        return await self._db.insist(commit)

    async def page(
        self, owner: str, user: str | None, limit: int, before: tuple[float, str] | None
    ) -> list[Row]:
        """Newest first; `before` is the (created, id) of the last row of the page before."""
        table = generations.c
        query = generations.select().where(table.owner == owner)
        if user is not None:
            query = query.where(table.user == user)
        if before is not None:
            created, last = before
            query = query.where(
                (table.created < created) | ((table.created == created) & (table.id < last))
            )
        query = query.order_by(table.created.desc(), table.id.desc()).limit(limit)
        found = await self._db.run(lambda c: c.execute(query).mappings().all())
        return [row for row in map(_row, found) if row is not None]

    async def of_user(self, owner: str, user: str) -> list[Row]:
        query = generations.select().where(generations.c.owner == owner, generations.c.user == user)
        found = await self._db.run(lambda c: c.execute(query).mappings().all())
        return [row for row in map(_row, found) if row is not None]

    async def spent(self, owner: str, user: str, since: float) -> Spent:
        t = spending.c
        query = (
            sa.select(t.created, t.images)
            .where(t.who == _who(owner, user), t.created > since)
            .order_by(t.created)
        )
        found = await self._db.run(lambda c: c.execute(query).all())
        return Spent(tuple((created, images) for created, images in found))

    async def forget_spending(self, before: float) -> None:
        forget = spending.delete().where(spending.c.created < before)
        await self._db.run(lambda c: c.execute(forget))

    async def over(self, before: float, limit: int = 500) -> list[Row]:
        """Generations that ended before this time."""
        query = generations.select().where(generations.c.ended < before).limit(limit)
        found = await self._db.run(lambda c: c.execute(query).mappings().all())
        return [row for row in map(_row, found) if row is not None]

    async def delete(self, rows: Sequence[Row]) -> int:
        """Remove rows with their pictures; the number of pictures that went."""
        images = 0
        for row in rows:
            images += await self._delete_files(row)
        ids = [str(row.id) for row in rows]
        remove = generations.delete().where(generations.c.id.in_(ids))
        await self._db.run(lambda c: c.execute(remove))
        return images

    # -- pictures ------------------------------------------------------------------------

    async def put_photo(self, row: Row, data: bytes) -> None:
        await obstore.put_async(self._images, _photo_path(row), data)

    async def photo(self, row: Row) -> bytes | None:
        return await self._read(_photo_path(row))

    async def forget_photo(self, row: Row) -> None:
        await self._remove(_photo_path(row))

    async def forget_stray_photos(self, before: float) -> None:
        """Photos from before this time whose generation was never committed or has ended."""
        for batch in await asyncio.to_thread(lambda: list(obstore.list(self._images, "photos"))):
            old = [entry["path"] for entry in batch if entry["last_modified"].timestamp() < before]
            ids = [path.rpartition("/")[2][:36] for path in old]
            query = sa.select(generations.c.id).where(
                generations.c.id.in_(ids), generations.c.ended.is_(None)
            )
            needed = await self._db.run(partial(_scalars, query))
            for path, generation_id in zip(old, ids, strict=True):
                if generation_id not in needed:
                    await self._remove(path)

    async def put_image(self, generation_id: UUID, number: int, data: bytes) -> None:
        path = _image_path(generation_id, number)
        await obstore.put_async(self._images, path, data)
        self._recent.put(path, data)

    async def image(self, generation_id: UUID, number: int) -> bytes | None:
        path = _image_path(generation_id, number)
        return self._recent.get(path) or await self._read(path)

    async def _read(self, path: str) -> bytes | None:
        try:
            found = await obstore.get_async(self._images, path)
        except (NotFoundError, FileNotFoundError):
            return None
        return bytes(await found.bytes_async())

    async def _delete_files(self, row: Row) -> int:
        """All there may be, also of a generation that broke off; the number it ended with."""
        for number in range(row.order.request.count):
            await self._remove(_image_path(row.id, number))
        if row.order.has_photo:
            await self.forget_photo(row)
        return len((row.outcome or {}).get("images", ()))

    async def _remove(self, path: str) -> None:
        self._recent.forget(path)
        try:
            await obstore.delete_async(self._images, path)
        except (NotFoundError, FileNotFoundError):
            return


def _image_path(generation_id: UUID, number: int) -> str:
    text = str(generation_id)
    return f"images/{text[:2]}/{text}-{number}"


def _scalars(query: sa.Select[tuple[str]], connection: sa.Connection) -> set[str]:
    return set(connection.scalars(query))


def _photo_path(row: Row) -> str:
    # With the fingerprint: another request under the same id never gets at its photo.
    return f"photos/{row.id}-{row.fingerprint[:16]}"


def _who(owner: str, user: str) -> str:
    return hashlib.sha256(f"{owner}\0{user}".encode()).hexdigest()


def _row(found: Any) -> Row | None:
    return None if found is None else _read(found)


def _read(found: Any) -> Row:
    return Row(
        id=UUID(found["id"]),
        owner=found["owner"],
        user=found["user"],
        fingerprint=found["fingerprint"],
        order=Order.from_json(found["order"]),
        created=found["created"],
        status=State(found["status"]),
        pod=found["pod"],
        ended=found["ended"],
        outcome=found["outcome"],
        idempotency_key=found["idempotency_key"],
    )
