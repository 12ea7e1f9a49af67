"""A generation that has not ended, as the scheduling process knows it."""

import asyncio
from typing import Final

from backend.scheduling.scheduler import Work
from backend.storage.generations import GenerationRow
from gpu_server import schemas as gpu
from gpu_server.schemas import State
from web import edge
from web.following import Followed, ReadOnly

_QUEUED_STAGE = "in line"
_WAITING_STAGE = "waiting for your other generations"


class ActiveGeneration(Followed):
    """Anyone may read and follow it; the dispatcher and its attempts change it, by its methods."""

    row = ReadOnly[GenerationRow]()
    status = ReadOnly[State]()
    stage = ReadOnly[str]()
    progress = ReadOnly[float]()
    engine = ReadOnly[str]()
    preview = ReadOnly[gpu.Preview | None]()
    pod = ReadOnly[str | None]()
    """The pod it is on."""
    committed_pod = ReadOnly[str | None]()
    """The pod that the database names."""
    failures = ReadOnly[int]()
    is_closing = ReadOnly[bool]()
    """Whether its outcome is decided and being committed."""
    is_dropped = ReadOnly[bool]()
    """Whether this process stopped scheduling first; the next one continues it."""

    def __init__(self, row: GenerationRow) -> None:
        super().__init__()
        self.trace: Final = edge.trace_ids()
        """The ids of the request that brought it; none after a restart."""
        self._row = row
        self._status = State.queued
        self._stage = _QUEUED_STAGE
        self._progress = 0.0
        self._engine = ""
        self._preview: gpu.Preview | None = None
        self._pod: str | None = None
        self._committed_pod = row.pod
        self._failures = 0
        self._is_closing = False
        self._is_dropped = False
        self._stop = asyncio.Event()
        self._no_pod_since: float | None = None
        self._over = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether someone asked to cancel it."""
        return self._stop.is_set()

    @property
    def is_over(self) -> bool:
        return self.row.ended is not None or self.is_dropped

    @property
    def work(self) -> Work:
        """What the scheduler needs to know of it."""
        request = self.row.request
        width, height = (int(request.values.get(s, 1024)) for s in ("width", "height"))
        return Work(
            id=self.row.id,
            user=self.row.whose,
            style=self.row.style,
            model=self.row.model,
            size=width * height / 2**20 * request.count,
            priority=request.priority,
        )

    async def wait_for_stop(self) -> None:
        await self._stop.wait()

    async def wait(self) -> bool:
        """Wait for its end. Return False if this process drops it first."""
        await self._over.wait()
        return self.row.ended is not None

    def wait_for_turn(self) -> None:
        self._stage = _WAITING_STAGE
        self._changed()

    def begin_turn(self) -> None:
        """Go in line, with the row committed."""
        self._stage = _QUEUED_STAGE
        self._changed()

    def assign(self, pod: str) -> None:
        self._pod = pod
        self._changed()

    def commit_pod(self, pod: str) -> None:
        self._committed_pod = pod
        self._changed()

    def take_state(self, job: gpu.Job) -> bool:
        """Take over the state of the pod's job. Return whether the GPU has just begun it."""
        has_begun = job.status is State.running and self.status is not State.running
        self._status = job.status
        self._engine = job.engine
        self._changed()
        return has_begun

    def take_progress(self, event: gpu.ProgressEvent) -> None:
        self._progress = event.progress
        self._stage = event.stage
        self._changed()

    def take_preview(self, preview: gpu.Preview) -> None:
        self._preview = preview
        self._changed()

    def requeue(self) -> None:
        self._status = State.queued
        self._stage = _QUEUED_STAGE
        self._progress = 0.0
        self._pod = None
        self._preview = None
        self._changed()

    def request_stop(self) -> None:
        self._stop.set()
        self._changed()

    def count_failure(self) -> None:
        self._failures += 1
        self._changed()

    def seconds_without_pod(self, now: float, *, can_be_drawn: bool) -> float:
        """Return for how long no pod could draw it, by the monotonic clock."""
        if can_be_drawn or self.pod is not None or self.is_closing:
            self._no_pod_since = None
            return 0.0
        self._no_pod_since = self._no_pod_since or now
        return now - self._no_pod_since

    def begin_closing(self) -> bool:
        """Decide its outcome. Return False if that has happened before."""
        if self.is_closing:
            return False
        self._is_closing = True
        self._changed()
        return True

    def end(self, row: GenerationRow) -> None:
        """End it; `row` holds the outcome."""
        self._row = row
        self._status = row.status
        self._preview = None
        self._over.set()
        self._changed()

    def drop(self) -> None:
        """Release its followers: this process no longer schedules it."""
        self._is_dropped = True
        self._over.set()
        self._changed()
