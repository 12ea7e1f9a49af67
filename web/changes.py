"""State that others follow: each change wakes every follower, and nobody is ever waited for."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Changing:
    """Base of a state with a `version` that grows with every change."""

    def __init__(self) -> None:
        self.version = 0
        self._followers: set[asyncio.Event] = set()

    def update(self, **changes: Any) -> None:
        """Set these attributes and tell all followers."""
        for name, value in changes.items():
            setattr(self, name, value)
        self.version += 1
        for follower in self._followers:
            follower.set()

    @contextmanager
    def follow(self) -> Iterator[asyncio.Event]:
        """An event that is set now and on every change: clear it, then look."""
        event = asyncio.Event()
        event.set()
        self._followers.add(event)
        try:
            yield event
        finally:
            self._followers.discard(event)
