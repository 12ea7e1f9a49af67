"""Read what another version, or a fault, has left in the database."""

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


def read(kind: type[M], text: str) -> M | None:
    """Read a stored object; a field that cannot be read takes its default.

    Unknown fields are ignored. None if a field without a default is missing or cannot be read.
    """
    stored = parsed(text)
    values = stored if isinstance(stored, dict) else {}
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        wrong = {fault["loc"][0] for fault in error.errors() if fault["loc"]}
    try:
        return kind.model_validate({name: v for name, v in values.items() if name not in wrong})
    except ValidationError:
        return None


def parsed(text: object) -> object:
    """Parse JSON; None for anything else."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
