"""How far a generation is, and how long it will still take."""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass

from backend.schemas import Generation, Preview, ProgressEvent
from telegram_bot.messages.view import Media

_SURE = 0.15
"""From this share on, the time taken so far says more than the backend's estimate."""


@dataclass
class Estimate:
    """What the events said so far."""

    clock: Callable[[], float] = time.monotonic
    preview: Media | None = None
    running: bool = False
    _progress: float = 0.0
    _stage: str = ""
    _began: float | None = None
    _expected_s: float | None = None

    def see(self, generation: Generation) -> None:
        """A state: a job that went back to the line begins anew."""
        if generation.status != "running":
            self._began, self.running, self.preview = None, False, None
            return
        self.running = True
        self._progress = generation.progress
        if self._began is None:
            self._began = self.clock()
        if generation.estimated_seconds is not None:
            self._expected_s = self.clock() - self._began + generation.estimated_seconds

    def note(self, event: object, generation: Generation) -> None:
        """An event between two states."""
        if isinstance(event, ProgressEvent):
            self._progress, self._stage = event.progress, event.stage
        elif isinstance(event, Preview) and generation.status == "running":
            self.preview = Media("photo", base64.b64decode(event.data), "preview.jpg")

    def generation(self, state: Generation) -> Generation:
        """The state, brought up to date."""
        changes = {"progress": self._progress, "stage": self._stage or state.stage}
        return state.model_copy(update=changes)

    def left_s(self) -> float | None:
        """Seconds still to go; None when nothing is known."""
        if self._began is None:
            return None
        taken = self.clock() - self._began
        if self._progress > _SURE:
            return taken * (1 - self._progress) / self._progress
        return max(1.0, self._expected_s - taken) if self._expected_s else None
