"""A generation's row as the API shows it. Pure."""

import base64
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from backend.schemas import Generation, ImageLink
from backend.storage.generations import Row
from gpu_server.schemas import State
from web import errors


def kept_view(row: Row) -> Generation:
    """All that is kept of one that has ended."""
    outcome = row.outcome or {}
    images = [
        ImageLink(**_link(row.id, number, info))
        for number, info in enumerate(outcome.get("images", ()))
    ]
    succeeded = row.status is State.succeeded
    return Generation.model_validate(
        {
            **basics(row).model_dump(),
            "engine": outcome.get("engine", ""),
            "timings": outcome.get("timings", {}),
            "progress": 1.0 if succeeded else outcome.get("progress", 0.0),
            "stage": "done" if succeeded else row.status.value,
            "images": images,
            "error": outcome.get("error"),
            "ended_at": datetime.fromtimestamp(row.ended, UTC) if row.ended else None,
        }
    )


def basics(row: Row) -> Generation:
    """What was accepted, whatever became of it."""
    request = row.order.request
    hidden = ("prompt", "seed")
    return Generation(
        id=row.id,
        status=row.status,
        mode=request.mode,
        style=request.style,
        user=row.user,
        prompt=str(request.values.get("prompt", "")),
        seed=request.seed,
        created_at=datetime.fromtimestamp(row.created, UTC),
        parameters={k: v for k, v in request.values.items() if k not in hidden},
    )


def _link(generation_id: UUID, number: int, info: dict[str, Any]) -> dict[str, Any]:
    names = ("seed", "width", "height", "media_type")
    url = f"/generations/{generation_id}/images/{number}"
    return {**{name: info[name] for name in names}, "url": url}


def images_of(row: Row) -> list[dict[str, Any]]:
    """The facts of its pictures, in order."""
    found: list[dict[str, Any]] = (row.outcome or {}).get("images", [])
    return found


def error_of(row: Row) -> errors.EaselError:
    """What it failed of."""
    problem = (row.outcome or {}).get("error")
    return (
        errors.error_from(errors.Problem.model_validate(problem)) if problem else errors.Internal()
    )


def cursor_of(row: Row) -> str:
    """Where the page after this row begins."""
    return base64.urlsafe_b64encode(f"{row.created!r} {row.id}".encode()).decode()


def before(cursor: str | None) -> tuple[float, str] | None:
    """The (created, id) of a cursor's row; raises InvalidRequest for one that is not ours."""
    if not cursor:
        return None
    try:
        created, _, last = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        return float(created), str(UUID(last))
    except ValueError as error:
        message, allowed = "is not one that this server gave", "a `next_cursor`"
        fault = errors.FieldError(field="cursor", message=message, allowed=allowed)
        raise errors.InvalidRequest.of([fault]) from error
