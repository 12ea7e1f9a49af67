"""A generation that is not over yet, as the scheduling process knows it."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from backend.store import Row
from gpu_server.schemas import ImageInfo, Preview, State, Timings
from web.changes import Changing
from web.errors import EaselError


@dataclass(frozen=True)
class Ending:
    """How a generation ended; kept as the row's outcome."""

    status: State
    engine: str = ""
    timings: Timings = field(default_factory=Timings)
    images: tuple[ImageInfo, ...] = ()
    error: EaselError | None = None
    progress: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "timings": self.timings.model_dump(),
            "images": [image.model_dump() for image in self.images],
            "error": self.error.problem().model_dump() if self.error else None,
            "progress": self.progress,
        }


class Live(Changing):
    """Changed only by the dispatcher, by `update`; others follow."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.row = row
        self.state = State.queued
        self.stage = "in line"
        self.progress = 0.0
        self.engine = ""
        self.timings = Timings()
        self.preview: Preview | None = None
        self.pod: str | None = None
        self.cancelling = False
        self.ending: Ending | None = None
        self.done = asyncio.Event()
        self.assigned: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.no_pod_since: float | None = None

    @property
    def user(self) -> str:
        """Whose turn it takes: users of different API keys are different people."""
        return f"{self.row.owner}/{self.row.user}"

    def assign(self, pod: str) -> None:
        self.update(pod=pod)
        if not self.assigned.done():
            self.assigned.set_result(pod)

    def back_in_line(self) -> None:
        self.update(state=State.queued, stage="in line", progress=0.0, pod=None, preview=None)
        self.assigned = asyncio.get_running_loop().create_future()

    def end(self, ending: Ending) -> None:
        self.update(ending=ending, state=ending.status, preview=None, timings=ending.timings)
        self.done.set()
        if not self.assigned.done():
            self.assigned.cancel()

    def waited_ms(self) -> float:
        return round((time.time() - self.row.created) * 1000, 1)
