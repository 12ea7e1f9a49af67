"""State that others follow, and what each follower is told of it.

A change wakes every follower and waits for none. A slow follower piles nothing up: it gets the
newest of each kind.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, Never, TypeVar

from pydantic import BaseModel

from web.sse import Event

T = TypeVar("T")


class ReadOnly(Generic[T]):
    """A private field that everyone may read: `status = ReadOnly[State]()` shows `_status`.

    Only the object's own methods write the field; assigning to this name is an error.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._field = f"_{name}"

    def __get__(self, instance: object, owner: type) -> T:
        value: T = getattr(instance, self._field)
        return value

    def __set__(self, instance: object, value: Never) -> None:
        raise AttributeError(f"{self._field} is changed by methods of {type(instance).__name__}")


class Followed:
    """Base of a state with a `version` that grows with every change.

    A subclass changes only in its own methods, each of which ends with `_changed`.
    """

    def __init__(self) -> None:
        self.version = 0
        self._followers: set[asyncio.Event] = set()

    @property
    def is_over(self) -> bool:
        """Whether no further change will come."""
        raise NotImplementedError

    def _changed(self) -> None:
        self.version += 1
        for follower in self._followers:
            follower.set()

    @contextmanager
    def follow(self) -> Iterator[asyncio.Event]:
        """Yield an event that is set now and on every change: clear it, then look."""
        event = asyncio.Event()
        event.set()
        self._followers.add(event)
        try:
            yield event
        finally:
            self._followers.discard(event)

    async def changes(
        self,
        after: int = -1,
        *,
        spacing_s: float = 0.0,
        look_again_s: Callable[[], float | None] = lambda: None,
    ) -> AsyncIterator[None]:
        """Yield now and after every change, the last time when it is over.

        Args:
            after: The version that the follower knows: nothing is yielded for it.
            spacing_s: The shortest time between two yields; the end is told at once.
            look_again_s: How long to wait for a change before yielding without one; None: forever.
        """
        with self.follow() as changed:
            while not self.is_over:
                with suppress(TimeoutError):
                    async with asyncio.timeout(look_again_s()):
                        await changed.wait()
                changed.clear()
                is_known, after = self.version <= after, -1
                if is_known or self.is_over:
                    continue
                yield
                if spacing_s:
                    await self._rest(changed, spacing_s)
        yield

    async def _rest(self, changed: asyncio.Event, seconds: float) -> None:
        """Wait out `seconds` or until the end, and keep in mind whether there was a change."""
        was_changed = False
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.is_over:
                    await changed.wait()
                    changed.clear()
                    was_changed = True
        if was_changed:
            changed.set()


class News:
    """Tell one follower what changed in a view since the last time."""

    def __init__(self) -> None:
        self._state: Hashable = None
        self._progress: BaseModel | None = None
        self._preview: object = None

    def events(
        self, view: BaseModel, version: int, *, state: Hashable, progress: BaseModel
    ) -> Iterator[Event]:
        """Yield `state` when `state` is new, and `progress` when that is."""
        if state != self._state:
            self._state = state
            yield Event("state", view, version)
        if progress != self._progress:
            self._progress = progress
            yield Event("progress", progress, version)

    def is_new_preview(self, preview: object) -> bool:
        """Whether there is a preview that this follower has not been sent."""
        is_new = preview is not None and preview is not self._preview
        self._preview = preview
        return is_new
