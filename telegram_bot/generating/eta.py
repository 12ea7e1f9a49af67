"""How far a generation is, and how long it will still take."""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass

from backend.schemas import Generation, Preview, ProgressEvent
from telegram_bot.messages.view import Media

_TRUSTED_PROGRESS = 0.15
"""From this progress on, the time taken so far predicts better than the backend's estimate."""


@dataclass(eq=False)
class Eta:
    """Progress, preview and remaining time of one generation, from the backend's events."""

    clock: Callable[[], float] = time.monotonic
    preview: Media | None = None
    started_at: float | None = None
    _progress: float = 0.0
    _stage: str = ""
    _expected_s: float | None = None

    def update(self, generation: Generation) -> None:
        """Take over a state; a generation that went back to the queue starts again."""
        if generation.status != "running":
            self.started_at, self.preview = None, None
            return
        self._progress = generation.progress
        if self.started_at is None:
            self.started_at = self.clock()
        if generation.estimated_seconds is not None:
            self._expected_s = self.clock() - self.started_at + generation.estimated_seconds

    def apply(self, event: object, state: Generation) -> Generation:
        """Take over an event between two states; return the last state brought up to date."""
        if isinstance(event, ProgressEvent):
            self._progress, self._stage = event.progress, event.stage
        elif isinstance(event, Preview) and state.status == "running":
            self.preview = Media("photo", base64.b64decode(event.data), "preview.jpg")
        changes = {"progress": self._progress, "stage": self._stage or state.stage}
        return state.model_copy(update=changes)

    def remaining_s(self) -> float | None:
        """Return the seconds still to go; None if nothing is known yet."""
        if self.started_at is None:
            return None
        elapsed = self.clock() - self.started_at
        if self._progress > _TRUSTED_PROGRESS:
            return elapsed * (1 - self._progress) / self._progress
        return max(1.0, self._expected_s - elapsed) if self._expected_s else None
