"""Choose the media type that an `Accept` header prefers (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence

from web.errors import FieldError, InvalidRequest

_MOST = 50
"""How many types of a header, and parameters of a type, are looked at."""


def best(accept: str, offered: Sequence[str]) -> str | None:
    """Return the preferred type, the first offered by default, or None if none is acceptable."""
    if not accept.strip():
        return offered[0]
    wanted = [_parse(part) for part in accept.split(",", _MOST)[:_MOST] if part.strip()]
    scored = [(_quality(kind, wanted), -index, kind) for index, kind in enumerate(offered)]
    quality, _, kind = max(scored)
    return kind if quality > 0 else None


def choose(accept: str, offered: Sequence[str]) -> str:
    """Return the preferred type. Raises InvalidRequest when none is acceptable."""
    kind = best(accept, offered)
    if kind is None:
        fault = FieldError(
            field="Accept", message="accepts nothing that is offered here", allowed=list(offered)
        )
        raise InvalidRequest.of([fault])
    return kind


def _parse(part: str) -> tuple[str, float]:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";", _MOST)[:_MOST])
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return kind, min(max(float(parameter[2:20]), 0.0), 1.0)
            except ValueError:
                return kind, 0.0
    return kind, 1.0


def _quality(kind: str, wanted: Sequence[tuple[str, float]]) -> float:
    """Let the most specific match decide: `image/png` over `image/*` over `*/*`."""
    family = kind.partition("/")[0] + "/*"
    for pattern in (kind, family, "*/*"):
        for name, quality in wanted:
            if name == pattern:
                return quality
    return 0.0
