"""A generation that is not over yet, as the scheduling process knows it."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

from backend.storage.generations import Row
from gpu_server.schemas import ImageInfo, Preview, State, Timings
from web import edge
from web.errors import EaselError
from web.following import Followed


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

    def of(self, row: Row) -> Row:
        """The row, ended so."""
        return replace(row, status=self.status, ended=time.time(), outcome=self.as_json())


NO_TIMINGS = Timings()


class Live(Followed):
    """Changed only by the dispatcher, by `update`; others follow."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.row = row
        self.state = State.queued
        self.stage = "in line"
        self.progress = 0.0
        self.engine = ""
        self.timings = NO_TIMINGS
        self.preview: Preview | None = None
        self.pod: str | None = None
        self.kept_pod = row.pod
        """The pod that the database names."""
        self.trace = edge.trace_ids()
        """The ids of the request that brought it; none after a restart."""
        self.stop = asyncio.Event()
        """Somebody asked to cancel it."""
        self.closing = False
        """It is ending: nothing can change that any more."""
        self.failures = 0
        self.done = asyncio.Event()
        self.dropped = False
        """This process schedules no more, before its end: whoever does next takes it up."""
        self.no_pod_since: float | None = None

    @property
    def is_over(self) -> bool:
        return self.done.is_set() or self.dropped

    def update(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        self._changed()

    @property
    def user(self) -> str:
        """Whose turn it takes: users of different API keys are different people."""
        return f"{self.row.owner}/{self.row.user}"

    @property
    def style(self) -> str:
        """`mode/style`, as pods tell what they can draw."""
        return self.row.order.style

    def back_in_line(self) -> None:
        self.update(state=State.queued, stage="in line", progress=0.0, pod=None, preview=None)

    def end(self, row: Row, timings: Timings) -> None:
        """`row` says how it ended."""
        self.row = row
        self.update(state=row.status, preview=None, timings=timings)
        self.done.set()

    async def over(self) -> bool:
        """Waits for its end; False when it was dropped before."""
        with self.follow() as changed:
            while not self.done.is_set() and not self.dropped:
                await changed.wait()
                changed.clear()
        return self.done.is_set()

    def waited_ms(self) -> float:
        return round((time.time() - self.row.created) * 1000, 1)
