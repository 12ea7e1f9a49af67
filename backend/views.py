"""Generations as the API shows them. Pure."""

import base64
from datetime import UTC, datetime
from uuid import UUID

from backend.dispatch.active import ActiveGeneration
from backend.schemas import Generation, ImageLink
from backend.storage.generations import GenerationRow
from gpu_server.schemas import State
from web import errors


def ended(row: GenerationRow) -> Generation:
    """Show everything kept of a generation that has ended."""
    outcome = row.outcome
    has_succeeded = row.status is State.succeeded
    view = _accepted(row)
    view.status = row.status
    view.stage = "done" if has_succeeded else row.status.value
    view.ended_at = datetime.fromtimestamp(row.ended, UTC) if row.ended else None
    if outcome is not None:
        view.engine = outcome.engine
        view.timings = outcome.timings
        view.progress = 1.0 if has_succeeded else outcome.progress
        view.error = outcome.error
        view.images = [
            ImageLink(
                **image.model_dump(exclude={"bytes"}),
                url=f"/generations/{row.public_id}/images/{number}",
            )
            for number, image in enumerate(outcome.images)
        ]
    return view


def active(
    generation: ActiveGeneration, position: int | None, estimated_seconds: float | None
) -> Generation:
    """Show a generation that may not have ended yet."""
    if generation.row.ended is not None:
        return ended(generation.row)
    view = _accepted(generation.row)
    view.status = generation.status
    view.engine = generation.engine
    view.position = position
    view.estimated_seconds = estimated_seconds
    view.progress = round(generation.progress, 4)
    view.stage = generation.stage
    return view


def _accepted(row: GenerationRow) -> Generation:
    request = row.request
    return Generation(
        id=row.public_id,
        status=row.status,
        mode=request.mode,
        style=request.style,
        user=row.user,
        prompt=str(request.values.get("prompt", "")),
        seed=request.seed,
        created_at=datetime.fromtimestamp(row.created, UTC),
        parameters={k: v for k, v in request.values.items() if k not in ("prompt", "seed")},
    )


def cursor_of(row: GenerationRow) -> str:
    """Return the cursor of the page after this row."""
    return base64.urlsafe_b64encode(f"{row.created!r} {row.public_id}".encode()).decode()


def before(cursor: str | None) -> tuple[float, str] | None:
    """Return the (created, id) of a cursor's row. Raises InvalidRequest for any other text."""
    if not cursor:
        return None
    try:
        created, _, last = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        return float(created), str(UUID(last))
    except ValueError as error:
        message, allowed = "is not one that this server returned", "a `next_cursor`"
        fault = errors.FieldError(field="cursor", message=message, allowed=allowed)
        raise errors.InvalidRequest.of([fault]) from error
