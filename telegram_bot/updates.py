"""Read updates one by one: what cannot be read is skipped, so that it never blocks the others."""

from collections.abc import Mapping
from typing import Any

from telegram import Bot, Update

_UNREADABLE = "unreadable"
_MAX_ID = 2**53


def readable(raw: object) -> dict[str, Any] | None:
    """Return an update as it is, or its id alone if it cannot be read; None without an id.

    Telegram forgets an update when its id is confirmed, so the id is all that skipping needs.
    """
    update_id = raw.get("update_id") if isinstance(raw, Mapping) else None
    if not isinstance(raw, dict) or not isinstance(update_id, int) or not 0 <= update_id < _MAX_ID:
        return None
    try:
        Update.de_json(raw)
    except Exception:  # the library names no error for what it cannot read
        return {"update_id": update_id, _UNREADABLE: True}
    return raw


def read(raw: object, bot: Bot | None) -> Update | None:
    """Make an update of parsed JSON; None if it has no id."""
    known = readable(raw)
    return Update.de_json(known, bot) if known else None


def is_unreadable(update: Update) -> bool:
    """Return whether only the update's id could be read."""
    return _UNREADABLE in update.api_kwargs
