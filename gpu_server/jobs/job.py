"""A job: a request and its state, which others follow without holding it up."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, TypeVar
from uuid import UUID, uuid5

from gpu_server import schemas
from gpu_server.schemas import ImageInfo, JobRequest, State, Timings
from web import errors
from web.errors import EaselError
from web.following import Followed, ReadOnly
from workflows.catalog import Mode

T = TypeVar("T")


class Submission(Enum):
    """Whether ComfyUI has received the current attempt; `unknown` right after a restart."""

    no = auto()
    yes = auto()
    unknown = auto()


def attempt_ids(job: UUID, attempt: int) -> tuple[str, ...]:
    """Return the prompt ids of a job's attempts up to and including `attempt` (from 0)."""
    return (str(job), *(str(uuid5(job, f"attempt {k}")) for k in range(1, attempt + 1)))


@dataclass(kw_only=True, eq=False, repr=False)  # it holds a prompt: keep it out of logs
class Job(Followed):
    """One request on this pod. It changes only by its own methods; everyone else reads it."""

    id: UUID
    """The caller's id, under which the request may be repeated."""
    request: JobRequest
    """Complete: checked, with defaults, a seed and a timeout."""
    size: tuple[int, int] | None
    """Width and height in pixels; None if the graph chooses them."""
    fingerprint: str
    """Of the caller's request."""
    is_kept: bool = True
    """Whether it outlives its caller's connection and a restart."""
    created_at: float = field(default_factory=time.time)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is to be stopped."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when its prompt moved or is to be stopped; cleared by the run that follows it."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has ended."""

    attempt = ReadOnly[int]()
    submission = ReadOnly[Submission]()
    status = ReadOnly[State]()
    stage = ReadOnly[str]()
    progress = ReadOnly[float]()
    engine = ReadOnly[str]()
    """The engine that draws it, as shown to people."""
    mode = ReadOnly[Mode | None]()
    """Its mode as it was when the job was accepted; None: accepted before a restart."""
    preview = ReadOnly[bytes | None]()
    """The newest preview."""
    previews_dropped = ReadOnly[int]()
    """How many previews were replaced before anyone took them."""
    timings = ReadOnly[Timings]()
    image_infos = ReadOnly[list[ImageInfo]]()
    image_bytes = ReadOnly[list[bytes]]()
    """The encoded images until they are on disk."""
    error = ReadOnly[EaselError | None]()
    ended_at = ReadOnly[float]()
    """Seconds since the epoch; 0 until it has ended."""
    is_clean = ReadOnly[bool]()
    """Whether ComfyUI keeps nothing of it."""

    def __post_init__(self) -> None:
        super().__init__()
        if self.request.timeout_s is None:
            raise ValueError("the request is not complete: it has no timeout")
        self.timeout_s = self.request.timeout_s
        """Seconds of drawing it may take, without the loading of models."""
        self._attempt = 0
        self._submission = Submission.no
        self._status = State.queued
        self._stage = "waiting"
        self._progress = 0.0
        self._engine = "unknown"
        self._mode: Mode | None = None
        self._preview: bytes | None = None
        self._preview_taken = False
        self._previews_dropped = 0
        self._timings = Timings()
        self._image_infos: list[ImageInfo] = []
        self._image_bytes: list[bytes] = []
        self._error: EaselError | None = None
        self._ended_at = 0.0
        self._is_clean = False

    @property
    def is_over(self) -> bool:
        return self.status.ended

    @property
    def is_stopping(self) -> bool:
        return self.stop.is_set()

    @property
    def style(self) -> tuple[str, str]:
        return self.request.mode, self.request.style

    @property
    def model(self) -> str:
        """The model that its graph loads; "" until its mode is known."""
        return self.mode.graph_spec(self.request.style).model if self.mode else ""

    @property
    def alpha(self) -> bool:
        """Whether its images keep transparent parts; False until its mode is known."""
        return self.mode is not None and self.mode.graph_spec(self.request.style).alpha

    @property
    def prompt_id(self) -> str:
        """The id under which ComfyUI knows this attempt; the first one's is the job's own."""
        return attempt_ids(self.id, self.attempt)[-1]

    @property
    def folder(self) -> str:
        """Where ComfyUI keeps this attempt's files, below its input and output folders."""
        return f"easel/{self.id}" if self.attempt == 0 else f"easel/{self.id}-{self.attempt}"

    def view(self, position: int | None = None) -> schemas.Job:
        return schemas.Job(
            id=self.id,
            status=self.status,
            mode=self.request.mode,
            style=self.request.style,
            seed=self.request.seed,
            engine=self.engine,
            position=position if self.status is State.queued else None,
            progress=round(self.progress, 4),
            stage=self.stage,
            created_at=datetime.fromtimestamp(self.created_at, UTC),
            timings=self.timings,
            images=self.image_infos,
            error=self.error.problem() if self.error else None,
        )

    def show_stage(self, stage: str) -> None:
        self._stage = stage
        self._changed()

    def assign_engine(self, name: str) -> None:
        self._engine = name
        self._changed()

    def assign_mode(self, mode: Mode) -> Mode:
        """Keep the mode that it is drawn with, whatever becomes of its folder; return it."""
        self._mode = mode
        self._changed()
        return mode

    def mark_submitted(self, submission: Submission) -> None:
        """Note whether ComfyUI has received this attempt."""
        self._submission = submission
        self._changed()

    def advance(self, progress: float, stage: str, *, model_s: float, gpu_s: float) -> None:
        """ComfyUI is running it; `progress` (0-1) never goes back."""
        if self.status is State.queued:
            self._status = State.running
            self.timings.queued_ms = milliseconds(time.time() - self.created_at)
        self.timings.model_ms = milliseconds(model_s)
        self.timings.gpu_ms = milliseconds(gpu_s)
        self._progress = max(self.progress, progress)
        self._stage = stage
        self._changed()

    def show_preview(self, preview: bytes) -> None:
        self._previews_dropped += self.preview is not None and not self._preview_taken
        self._preview, self._preview_taken = preview, False
        self._changed()

    def take_preview(self) -> None:
        self._preview_taken = True
        self._changed()

    def resume(self, attempt: int) -> None:
        """Go on after a restart: whether ComfyUI has received this attempt is unknown."""
        self._attempt, self._submission = attempt, Submission.unknown
        self._changed()

    def retry(self) -> None:
        """Go back to the queue for another attempt."""
        self._attempt += 1
        self._submission = Submission.no
        self._status, self._stage = State.queued, "waiting"
        self._changed()

    def ask_to_stop(self) -> None:
        """Ask for the end; the task that runs the job stops it and ends it."""
        self.stop.set()
        self.wake.set()
        self._changed()

    async def unless_stopped(self, waiting: Awaitable[T]) -> T:
        """Return the result of `waiting`; raise Cancelled as soon as the job is to be stopped."""
        task = asyncio.ensure_future(waiting)
        stop = asyncio.ensure_future(self.stop.wait())
        try:
            both: set[asyncio.Future[Any]] = {task, stop}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise errors.Cancelled
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()

    def succeed(self, infos: list[ImageInfo], images: list[bytes], *, encode_s: float) -> None:
        self._image_infos, self._image_bytes = infos, images
        self.timings.encode_ms = milliseconds(encode_s)
        self._end(State.succeeded)

    def fail(self, error: EaselError) -> None:
        self._error = error
        self._end(State.failed)

    def end_cancelled(self) -> None:
        self._end(State.cancelled)

    def _end(self, status: State) -> None:
        now = time.time()
        self.timings.total_ms = milliseconds(now - self.created_at)
        self._close(status, now)

    def _close(self, status: State, ended_at: float) -> None:
        self._status, self._stage, self._ended_at = status, status.value, ended_at
        if status is State.succeeded:
            self._stage, self._progress = "done", 1.0
        self._preview = None
        self.done.set()
        self._changed()

    def restore(self, outcome: schemas.Job, *, ended_at: float, is_clean: bool) -> None:
        """Take over the recorded outcome of a job that ended before a restart."""
        self._is_clean, self._engine, self._progress = is_clean, outcome.engine, outcome.progress
        self._timings, self._image_infos = outcome.timings, outcome.images
        self._error = errors.error_from(outcome.error) if outcome.error else None
        self._close(outcome.status, ended_at)

    def drop_image_bytes(self) -> None:
        """Free the memory of its images: they are on disk, or deleted."""
        self._image_bytes = []
        self._changed()

    def mark_clean(self) -> None:
        """Note that ComfyUI keeps nothing of it."""
        self._is_clean = True
        self._changed()


def milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
