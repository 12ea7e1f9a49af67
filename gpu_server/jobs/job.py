"""A job: a request and its state, which others follow without holding it up."""

import asyncio
import time
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final
from uuid import UUID, uuid5

from gpu_server import schemas
from gpu_server.comfy.events import PreviewImage
from gpu_server.schemas import ImageInfo, JobRequest, State, Timings
from web import errors
from web.errors import EaselError
from web.following import Followed


class Submission(Enum):
    """Whether ComfyUI has received the current attempt; `unknown` right after a restart."""

    no = auto()
    yes = auto()
    unknown = auto()


def attempt_ids(job: UUID, attempt: int) -> tuple[str, ...]:
    """Return the prompt ids of a job's attempts up to and including `attempt` (from 0)."""
    return (str(job), *(str(uuid5(job, f"attempt {k}")) for k in range(1, attempt + 1)))


class Job(Followed):
    """One request on this pod. It changes only by its own methods; everyone else reads it."""

    def __init__(
        self,
        job_id: UUID,
        request: JobRequest,
        *,
        size: tuple[int, int],
        fingerprint: str,
        engine: str,
        is_kept: bool = True,
        attempt: int = 0,
        created_at: float | None = None,
        submission: Submission = Submission.no,
    ) -> None:
        """Create a queued job.

        Args:
            job_id: The caller's id, under which the request may be repeated.
            request: Complete: checked, with defaults, a seed and a timeout.
            size: Width and height in pixels.
            fingerprint: Of the caller's request.
            engine: The engine's name, as shown to people.
            is_kept: Whether it outlives its caller's connection and a restart.
            attempt: Counted from 0.
            created_at: Seconds since the epoch; None: now.
            submission: `unknown` for a job recovered from disk.
        """
        super().__init__()
        if request.timeout_s is None:
            raise ValueError("the request is not complete: it has no timeout")
        self.id: Final = job_id
        self.request: Final = request
        self.timeout_s: Final[float] = request.timeout_s
        """Seconds of drawing it may take, without the loading of models."""
        self.size: Final = size
        self.fingerprint: Final = fingerprint
        self.is_kept: Final = is_kept
        self.created_at: Final = time.time() if created_at is None else created_at
        self.stop: Final = asyncio.Event()
        """Set when it is to be stopped."""
        self.wake: Final = asyncio.Event()
        """Set when its prompt moved or is to be stopped; cleared by the run that follows it."""
        self.done: Final = asyncio.Event()
        """Set when it has ended."""
        self._attempt = attempt
        self._submission = submission
        self._status = State.queued
        self._stage = "waiting"
        self._progress = 0.0
        self._engine = engine
        self._preview: PreviewImage | None = None
        self._preview_taken = False
        self._previews_dropped = 0
        self._timings = Timings()
        self._image_infos: list[ImageInfo] = []
        self._image_bytes: list[bytes] = []
        self._error: EaselError | None = None
        self._ended_at = 0.0
        self._is_clean = False

    @property
    def attempt(self) -> int:
        return self._attempt

    @property
    def submission(self) -> Submission:
        return self._submission

    @property
    def status(self) -> State:
        return self._status

    @property
    def is_over(self) -> bool:
        return self._status.ended

    @property
    def is_stopping(self) -> bool:
        return self.stop.is_set()

    @property
    def stage(self) -> str:
        return self._stage

    @property
    def engine(self) -> str:
        """The engine that draws it, as shown to people."""
        return self._engine

    @property
    def preview(self) -> PreviewImage | None:
        """The newest preview."""
        return self._preview

    @property
    def previews_dropped(self) -> int:
        """How many previews were replaced before anyone took them."""
        return self._previews_dropped

    @property
    def timings(self) -> Timings:
        return self._timings

    @property
    def image_infos(self) -> list[ImageInfo]:
        return self._image_infos

    @property
    def image_bytes(self) -> list[bytes]:
        """The encoded images until they are on disk."""
        return self._image_bytes

    @property
    def error(self) -> EaselError | None:
        return self._error

    @property
    def ended_at(self) -> float:
        """Seconds since the epoch; 0 until it has ended."""
        return self._ended_at

    @property
    def is_clean(self) -> bool:
        """Whether ComfyUI keeps nothing of it."""
        return self._is_clean

    @property
    def style(self) -> tuple[str, str]:
        """Mode and style."""
        return self.request.mode, self.request.style

    @property
    def prompt_id(self) -> str:
        """The id under which ComfyUI knows this attempt; the first one's is the job's own."""
        return attempt_ids(self.id, self._attempt)[-1]

    @property
    def folder(self) -> str:
        """Where ComfyUI keeps this attempt's files, below its input and output folders."""
        return f"easel/{self.id}" if self._attempt == 0 else f"easel/{self.id}-{self._attempt}"

    def view(self, position: int | None = None) -> schemas.Job:
        """Return the state as the API shows it."""
        return schemas.Job(
            id=self.id,
            status=self._status,
            mode=self.request.mode,
            style=self.request.style,
            seed=self.request.seed,
            engine=self._engine,
            position=position if self._status is State.queued else None,
            progress=round(self._progress, 4),
            stage=self._stage,
            created_at=datetime.fromtimestamp(self.created_at, UTC),
            timings=self._timings,
            images=self._image_infos,
            error=self._error.problem() if self._error else None,
        )

    def wait_for_engine(self) -> None:
        self._stage = "waiting for ComfyUI"
        self._changed()

    def assign_engine(self, name: str) -> None:
        self._engine = name
        self._changed()

    def mark_submitted(self, submission: Submission) -> None:
        """Note whether ComfyUI has received this attempt."""
        self._submission = submission
        self._changed()

    def advance(self, progress: float, stage: str, *, model_s: float, gpu_s: float) -> None:
        """ComfyUI is running it; `progress` (0-1) never goes back."""
        if self._status is State.queued:
            self._status = State.running
            self._timings.queued_ms = milliseconds(time.time() - self.created_at)
        self._timings.model_ms = milliseconds(model_s)
        self._timings.gpu_ms = milliseconds(gpu_s)
        self._progress = max(self._progress, progress)
        self._stage = stage
        self._changed()

    def show_preview(self, preview: PreviewImage) -> None:
        self._previews_dropped += self._preview is not None and not self._preview_taken
        self._preview, self._preview_taken = preview, False
        self._changed()

    def take_preview(self) -> None:
        """Note that a follower took the newest preview."""
        self._preview_taken = True
        self._changed()

    def begin_encoding(self) -> None:
        self._stage = "encoding"
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

    def succeed(self, infos: list[ImageInfo], images: list[bytes], *, encode_s: float) -> None:
        self._image_infos, self._image_bytes = infos, images
        self._timings.encode_ms = milliseconds(encode_s)
        self._progress = 1.0
        self._end(State.succeeded, "done")

    def fail(self, error: EaselError) -> None:
        self._error = error
        self._end(State.failed, "failed")

    def end_cancelled(self) -> None:
        self._end(State.cancelled, "cancelled")

    def _end(self, status: State, stage: str) -> None:
        self._status, self._stage = status, stage
        self._ended_at = time.time()
        self._timings.total_ms = milliseconds(self._ended_at - self.created_at)
        self._preview = None
        self.done.set()
        self._changed()

    def restore(self, outcome: schemas.Job, *, ended_at: float, is_clean: bool) -> None:
        """Take over the recorded outcome of a job that ended before a restart."""
        self._status, self._ended_at, self._is_clean = outcome.status, ended_at, is_clean
        succeeded = outcome.status is State.succeeded
        self._progress = 1.0 if succeeded else outcome.progress
        self._stage = "done" if succeeded else outcome.status.value
        self._engine = outcome.engine
        self._timings = outcome.timings
        self._image_infos = outcome.images
        self._error = errors.error_from(outcome.error) if outcome.error else None
        self.done.set()
        self._changed()

    def drop_image_bytes(self) -> None:
        """Free the memory of its images: they are on disk, or deleted."""
        self._image_bytes = []
        self._changed()

    def mark_clean(self) -> None:
        """Note that ComfyUI keeps nothing of it."""
        self._is_clean = True
        self._changed()


def milliseconds(seconds: float) -> float:
    """Convert, rounded to a tenth."""
    return round(seconds * 1000, 1)
