"""A generation as kept: its row read and written. A damaged row is read as a failed generation."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self
from uuid import NAMESPACE_OID, UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field

from backend.schemas import GenerationRequest, Webhook
from gpu_server.schemas import ImageInfo, State, Timings
from web import errors
from workflows.spec import IMAGE, PHOTOS

_PLAIN_COLUMNS = ("owner", "fingerprint", "created", "pod", "ended", "idempotency_key")
_MAX_COUNT = 1000
"""More images than any mode draws: a larger number is damage, and nobody loops over it."""
_MAX_SIDE = 100_000
_DAMAGED = object()


class Outcome(BaseModel):
    """The final record of a generation. `progress` is how far it got, 0 to 1."""

    model_config = ConfigDict(frozen=True)

    status: State = Field(exclude=True)
    """Has a column of its own."""
    engine: str = ""
    timings: Timings = Timings()
    images: tuple[ImageInfo, ...] = ()
    digests: tuple[str, ...] = Field((), exclude_if=lambda digests: not digests)
    """SHA-256 of each image; none in rows of the first release."""
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

    `id` is its id everywhere inside, `owner` the name of the API key. `request` has every value
    filled in. Times are Unix seconds.
    """

    id: UUID
    owner: str
    fingerprint: str
    request: GenerationRequest
    model: str
    timeout_s: float
    photos: tuple[str, ...]
    """The parameters whose values are photos, which are kept until its end."""
    created: float
    own_id: UUID | None = None
    """The id under which its owner knows it, where another API key had that id before."""
    status: State = State.queued
    pod: str | None = None
    ended: float | None = None
    outcome: Outcome | None = None
    idempotency_key: str | None = None
    stored_id: str = ""
    """The column `id`, if that is no UUID."""

    @property
    def public_id(self) -> UUID:
        return self.own_id or self.id

    @property
    def key(self) -> str:
        """The column `id`."""
        return self.stored_id or str(self.id)

    @property
    def user(self) -> str:
        return self.request.user

    @property
    def whose(self) -> str:
        """Whose turn it takes."""
        return whose(self.owner, self.user)

    @property
    def style(self) -> str:
        """`mode/style`, as pods report what they can draw."""
        return f"{self.request.mode}/{self.request.style}"

    def ended_with(self, outcome: Outcome) -> "GenerationRow":
        return replace(self, status=outcome.status, ended=time.time(), outcome=outcome)


def whose(owner: str, user: str) -> str:
    """Name a person: the same name under two API keys means two people."""
    return f"{owner}/{user}"


class Unreadable(ValueError):
    """A column is damaged or of another version; the message names it."""


def columns(row: GenerationRow) -> dict[str, Any]:
    """Return the row for the database."""
    plain = {name: getattr(row, name) for name in _PLAIN_COLUMNS}
    request = row.request
    order = {  # in the first release's shape: both read the other's rows
        "mode": request.mode,
        "style": request.style,
        "values": dict(request.values),
        "format": request.format,
        "priority": request.priority,
        "model": row.model,
        "timeout_s": row.timeout_s,
        "has_photo": bool(row.photos),
    }
    if row.photos not in ((), (IMAGE,)):  # other releases take no further photos
        order["photos"] = list(row.photos)
    own_id = {"own_id": str(row.own_id)} if row.own_id else {}
    webhook = {"webhook": request.webhook.url} if request.webhook else {}
    # Without an outcome the column stays NULL; None would become JSON's null.
    outcome = {"outcome": row.outcome.model_dump()} if row.outcome else {}
    return {
        **plain,
        **own_id,
        **webhook,
        **outcome,
        "id": row.key,
        "user": row.user,
        "order": order,
        "count": request.count,
        "status": row.status.value,
    }


def decode(text: str | bytes) -> Any:
    """Decode a JSON column for SQLAlchemy. Damage is found in `read`, which knows the row."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return _DAMAGED


def read(mapping: Mapping[Any, Any]) -> GenerationRow:
    """Return the generation. Raises Unreadable."""
    with _reading("id"):
        row_id = UUID(mapping["id"])
        own_id = UUID(mapping["own_id"]) if mapping["own_id"] else None
    with _reading("owner"):
        plain = {name: mapping[name] for name in _PLAIN_COLUMNS}
        names = [mapping["owner"], mapping["user"], mapping["fingerprint"], mapping["pod"] or ""]
        _require(all(isinstance(name, str) for name in names))
    with _reading("created"):
        for at in (mapping["created"], mapping["ended"] or 0.0):
            datetime.fromtimestamp(at, UTC)
    with _reading("order"):
        order = dict(mapping["order"])
        own = {name: order.pop(name) for name in ("model", "timeout_s")}
        first = [IMAGE] if order.pop("has_photo") else []
        photos = order.pop("photos", first)
        _require({*photos} <= {*PHOTOS})
        own_request = {"user": mapping["user"], "webhook": _webhook(mapping["webhook"])}
        request = GenerationRequest(**own_request, **order.pop("values"), **order)
        _require(_is_usable(request) and isinstance(own["model"], str))
        _require(math.isfinite(own["timeout_s"]) and own["timeout_s"] >= 0)
    with _reading("status"):
        status = State(mapping["status"])
        _require(mapping["ended"] is None or status.ended)
    with _reading("outcome"):
        outcome = mapping["outcome"]
        outcome = None if outcome is None else Outcome(status=status, **outcome)
        _require(mapping["ended"] is None or status is not State.succeeded or outcome is not None)
    return GenerationRow(
        **plain,
        **own,
        photos=tuple(photos),
        id=row_id,
        own_id=own_id,
        request=request,
        status=status,
        outcome=outcome,
    )


def placeholder(mapping: Mapping[Any, Any]) -> GenerationRow:
    """Return a row that cannot be read as a generation that failed: it is listed and deleted."""
    created = _time(mapping["created"]) or 0.0
    count = mapping["count"]
    count = count if isinstance(count, int) and 0 < count <= _MAX_COUNT else 1
    row = GenerationRow(
        id=_uuid(mapping["id"]) or uuid5(NAMESPACE_OID, str(mapping["id"])),
        stored_id=mapping["id"],
        own_id=_uuid(mapping["own_id"]),
        owner=str(mapping["owner"]),
        fingerprint=str(mapping["fingerprint"]),
        request=GenerationRequest.model_construct(
            mode="",
            style="",
            user=str(mapping["user"]),
            count=count,
            webhook=_webhook(mapping["webhook"]),
        ),
        model="",
        timeout_s=0.0,
        photos=PHOTOS,
        created=created,
    )
    row = row.ended_with(Outcome.failed(_damage()))
    return replace(row, ended=_time(mapping["ended"]) or created)


def set_aside() -> dict[str, Any]:
    """Return the columns that end an unfinished row that cannot be read."""
    return {
        "status": State.failed.value,
        "ended": time.time(),
        "outcome": Outcome.failed(_damage()).model_dump(),
    }


def _damage() -> errors.Internal:
    return errors.Internal(
        "What the server kept of this generation is damaged, so it counts as failed. Ask again, "
        "and delete this one"
    )


@contextmanager
def _reading(column: str) -> Iterator[None]:
    """Name the column in which anything is wrong."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise Unreadable(column) from error


def _require(is_right: bool) -> None:
    if not is_right:
        raise ValueError


def _is_usable(request: GenerationRequest) -> bool:
    sides = [int(request.values.get(side, 1)) for side in ("width", "height")]
    is_drawable = 0 < request.count <= _MAX_COUNT and 0 < min(sides) <= max(sides) <= _MAX_SIDE
    return is_drawable and request.seed is not None


def _webhook(url: Any) -> Webhook | None:
    return Webhook.model_construct(url=url) if url and isinstance(url, str) else None


def _time(value: Any) -> float | None:
    with_time = isinstance(value, int | float) and math.isfinite(value) and 0 <= value < 1e11
    return float(value) if with_time else None


def _uuid(text: Any) -> UUID | None:
    try:
        return UUID(text)
    except (AttributeError, TypeError, ValueError):
        return None
