"""The GPU server's requests and answers on the wire."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from gpu_server.pictures.formats import ImageFormat
from web.errors import Problem
from workflows.parameters import Request

FORGOTTEN_AT_ONCE = 100
"""Most jobs that one request may forget: their ids are in its address."""
SKETCH = "sketch"
"""How the name of the built-in engine begins, whose images are drawn without an AI model."""


class State(StrEnum):
    queued = "queued"
    running = "running"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (State.succeeded, State.failed, State.cancelled)


class JobRequest(Request):
    """What to draw. Further fields are the values of its mode's parameters (see `GET /modes`)."""

    format: ImageFormat = "png"
    timeout_s: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="GPU seconds it may take"
    )


class Timings(BaseModel):
    """In milliseconds; `model_ms`: loading models, `gpu_ms`: the rest of ComfyUI's work."""

    queued_ms: float = 0
    model_ms: float = 0
    gpu_ms: float = 0
    encode_ms: float = 0
    total_ms: float = 0


class _Image(BaseModel):
    seed: int
    width: int
    height: int
    media_type: str


class ImageInfo(_Image):
    bytes: int


class ImageData(_Image):
    data: str = Field(description="base64")


class Job(BaseModel):
    """A job's state."""

    id: UUID
    status: State
    mode: str
    style: str
    seed: int
    engine: str = Field(description="`comfyui <version>` or `sketch`")
    position: int | None = Field(None, description="jobs before it on this pod; null once running")
    progress: float = Field(0, ge=0, le=1)
    stage: str = Field("", examples=["sampling 5/8"])
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    timings: Timings = Timings()
    images: list[ImageInfo] = []
    error: Problem | None = None


class Result(BaseModel):
    """The answer to `POST /generate` as JSON."""

    id: UUID
    status: State
    mode: str
    style: str
    prompt: str
    seed: int
    engine: str
    images: list[ImageData]
    timings: Timings


class Ended(BaseModel):
    """What a `DELETE` did."""

    id: UUID
    status: State = Field(description="the job's state now")
    outcome: Literal["cancelled", "stopping", "already_ended", "deleted"]
    detail: str
    took_ms: float


class ProgressEvent(BaseModel):
    progress: float = Field(ge=0, le=1)
    stage: str


class Preview(BaseModel):
    """An image of the work so far, blurred: it was not judged."""

    media_type: str
    data: str = Field(description="base64")


class Readiness(BaseModel):
    """Whether work could be done now."""

    ready: bool
    checks: dict[str, str] = Field(description="check → `ok`, or that it is not")


class StyleHealth(BaseModel):
    available: bool
    reason: str | None = None
    model: str
    files: dict[str, bool] = Field(description="model file → whether it is there")


class Health(BaseModel):
    status: Literal["ok", "starting", "degraded", "down"]
    gpu_available: bool
    engine: str
    version: str
    checks: dict[str, str] = Field(description="check → `ok` or what is wrong and what to do")
    gpu: dict[str, Any] | None = None
    capacity: int = Field(description="prompts that ComfyUI holds at most; for information")
    queued: int
    running: int
    loaded_model: str | None
    styles: dict[str, dict[str, StyleHealth]] = Field(description="mode → style → health")
    broken_modes: dict[str, str] = Field({}, description="mode or mode:style → its faults")


class StyleInfo(BaseModel):
    name: str
    title: dict[str, str] = Field(description="language → text")
    description: dict[str, str]
    model: str
    sizes: dict[str, list[int]] = Field(description="aspect ratio → [width, height]")
    ignores: list[str] = Field(description="parameters without effect in this style")
    available: bool
    reason: str | None = Field(None, description="why it is not available")


class ModeInfo(BaseModel):
    """A mode with its parameters (JSON Schema), styles and texts."""

    name: str
    title: dict[str, str]
    description: dict[str, str]
    default_style: str
    takes_image: bool
    available: bool
    reason: str | None = Field(None, description="why the mode is out of service: its faults")
    parameters: dict[str, Any]
    texts: dict[str, Any] = Field(description="parameter → its texts by language")
    styles: list[StyleInfo]
