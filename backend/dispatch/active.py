"""A generation that has not ended, as the scheduling process knows it."""

import asyncio
import time

from backend.scheduling.scheduler import Work
from backend.storage.generations import GenerationRow
from gpu_server import schemas as gpu
from gpu_server.schemas import State
from web import edge
from web.following import Followed

_NO_TIMINGS = gpu.Timings()
_QUEUED_STAGE = "in line"
_DEFAULT_SIDE = 1024


class ActiveGeneration(Followed):
    """The dispatcher and its attempts change it by the transitions below; others follow it."""

    def __init__(self, row: GenerationRow) -> None:
        super().__init__()
        self._row = row
        self._status = State.queued
        self._stage = _QUEUED_STAGE
        self._progress = 0.0
        self._engine = ""
        self._timings = _NO_TIMINGS
        self._preview: gpu.Preview | None = None
        self._pod: str | None = None
        self._committed_pod = row.pod
        self._trace = edge.trace_ids()
        self._stop = asyncio.Event()
        self._is_closing = False
        self._failures = 0
        self._has_ended = False
        self._is_dropped = False
        self._no_pod_since: float | None = None

    @property
    def row(self) -> GenerationRow:
        return self._row

    @property
    def status(self) -> State:
        return self._status

    @property
    def stage(self) -> str:
        return self._stage

    @property
    def progress(self) -> float:
        return self._progress

    @property
    def engine(self) -> str:
        return self._engine

    @property
    def timings(self) -> gpu.Timings:
        return self._timings

    @property
    def preview(self) -> gpu.Preview | None:
        return self._preview

    @property
    def pod(self) -> str | None:
        """The pod it is on."""
        return self._pod

    @property
    def committed_pod(self) -> str | None:
        """The pod that the database names."""
        return self._committed_pod

    @property
    def trace(self) -> dict[str, str]:
        """The ids of the request that brought it; none after a restart."""
        return self._trace

    @property
    def failures(self) -> int:
        return self._failures

    @property
    def is_stopping(self) -> bool:
        """Whether someone asked to cancel it."""
        return self._stop.is_set()

    @property
    def is_closing(self) -> bool:
        """Whether its outcome is decided and being committed."""
        return self._is_closing

    @property
    def has_ended(self) -> bool:
        return self._has_ended

    @property
    def is_dropped(self) -> bool:
        """Whether this process stopped scheduling first; the next one continues it."""
        return self._is_dropped

    @property
    def is_over(self) -> bool:
        return self._has_ended or self._is_dropped

    @property
    def user(self) -> str:
        """Whose turn it takes: the same name under two API keys means two people."""
        return f"{self._row.owner}/{self._row.user}"

    @property
    def work(self) -> Work:
        """What the scheduler needs to know of it."""
        request = self._row.request
        width, height = (int(request.values.get(s, _DEFAULT_SIDE)) for s in ("width", "height"))
        return Work(
            id=self._row.id,
            user=self.user,
            style=self._row.style,
            model=self._row.model,
            size=width * height / 2**20 * request.count,
            priority=request.priority,
        )

    def age_ms(self) -> float:
        return round((time.time() - self._row.created) * 1000, 1)

    async def wait_for_stop(self) -> None:
        await self._stop.wait()

    async def wait(self) -> bool:
        """Wait for its end. Return False if this process drops it first."""
        async for _ in self.changes():
            pass
        return self._has_ended

    def assign(self, pod: str) -> None:
        self._pod = pod
        self._changed()

    def commit_pod(self, pod: str) -> None:
        """Note that the database names this pod."""
        self._committed_pod = pod
        self._changed()

    def take_state(self, job: gpu.Job) -> bool:
        """Take over the state of the pod's job. Return whether the GPU has just begun it."""
        has_begun = job.status is State.running and self._status is not State.running
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
        """Take it off its pod and back into the queue."""
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
        if can_be_drawn or self._pod is not None or self._is_closing:
            self._no_pod_since = None
            return 0.0
        self._no_pod_since = self._no_pod_since or now
        return now - self._no_pod_since

    def begin_closing(self) -> bool:
        """Decide its outcome. Return False if that has happened before."""
        if self._is_closing:
            return False
        self._is_closing = True
        self._changed()
        return True

    def end(self, row: GenerationRow, timings: gpu.Timings) -> None:
        """End it; `row` holds the outcome."""
        self._row = row
        self._status = row.status
        self._timings = timings
        self._preview = None
        self._has_ended = True
        self._changed()

    def drop(self) -> None:
        """Release its followers: this process no longer schedules it."""
        self._is_dropped = True
        self._changed()
