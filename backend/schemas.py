"""The backend's requests and answers on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from gpu_server.pictures.formats import ImageFormat
from gpu_server.schemas import ModeInfo, Preview, ProgressEvent, State, Timings
from web.errors import Problem
from workflows.parameters import Request

__all__ = ["ImageFormat", "ModeInfo", "Preview", "Problem", "ProgressEvent", "State", "Timings"]

USER_LENGTH = 128
USER_CHARACTERS = r"^[^\x00-\x1F\x7F]*$"
"""No control characters: PostgreSQL stores no NUL, and people read logs and lists."""


WEBHOOK_LENGTH = 2000


class Webhook(BaseModel):
    """Whom to tell of a generation's end."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: str = Field(min_length=1, max_length=WEBHOOK_LENGTH)


_WEBHOOK_SCHEMA = {
    "type": "object",
    "properties": {"url": {"type": "string", "format": "uri", "maxLength": WEBHOOK_LENGTH}},
    "required": ["url"],
    "additionalProperties": False,
}
"""Written out, because the schemas of modes have no place for definitions."""


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]  # null, which is no value of its type


class GenerationRequest(Request):
    """What to draw; besides these fields it has the parameters of its mode (see `GET /modes`)."""

    format: ImageFormat = "png"
    user: str = Field(
        "",
        max_length=USER_LENGTH,
        pattern=USER_CHARACTERS,
        description="whose generation it is, by a name of your choice; limits and blocks are "
        "for each named user. Nobody without a name is blocked for what others ask",
    )
    priority: int = Field(0, ge=-10, le=10, description="orders the generations of this user")
    webhook: Annotated[Webhook | None, WithJsonSchema(_WEBHOOK_SCHEMA)] = Field(
        None,
        exclude_if=lambda webhook: webhook is None,
        description="the address that is told when it has ended, in a signed request "
        "(https://www.standardwebhooks.com)",
        json_schema_extra=_without_default,
    )


class ImageLink(BaseModel):
    """An image of a generation that succeeded; `url` is relative to the backend."""

    seed: int
    width: int
    height: int
    media_type: str
    url: str


class Generation(BaseModel):
    """The state of a generation."""

    id: UUID
    status: State
    mode: str
    style: str
    user: str = ""
    prompt: str = ""
    seed: int
    engine: str = ""
    position: int | None = Field(None, description="position in the queue, from 1; null on a pod")
    estimated_seconds: float | None = Field(None, description="until the images are there")
    progress: float = Field(0, ge=0, le=1)
    stage: str = Field("", examples=["in line", "sampling 5/8"])
    created_at: datetime
    ended_at: datetime | None = None
    timings: Timings = Timings()
    parameters: dict[str, Any] = Field({}, description="the values of the mode's parameters")
    images: list[ImageLink] = []
    error: Problem | None = None


class GenerationList(BaseModel):
    generations: list[Generation]
    next_cursor: str | None = Field(None, description="pass it as `cursor` for the next page")


EndOutcome = Literal["cancelled", "stopping", "already_ended", "deleted"]


class GenerationEnded(BaseModel):
    """What a `DELETE` did."""

    id: UUID
    status: State
    outcome: EndOutcome
    detail: str
    took_ms: float


class UserDeleted(BaseModel):
    """What was deleted of a user."""

    user: str
    generations: int
    images: int
    cancelled: int


class RefusalCount(BaseModel):
    """How often a user's requests were refused in the last 30 days, by category; no prompts."""

    user: str
    category: str
    count: int
    newest: float = Field(description="Unix time of the newest refusal")


class PodInfo(BaseModel):
    name: str
    in_service: bool
    engine: str = ""
    loaded_model: str | None = None
    running: int = 0
    reason: str | None = None
    gpu: dict[str, Any] | None = None


class QueueInfo(BaseModel):
    waiting: int
    running: int
    limit: int
    oldest_seconds: float = 0


class BackendHealth(BaseModel):
    status: Literal["ok", "degraded", "down"]
    gpu_available: bool
    engine: str
    version: str
    checks: dict[str, str] = {}
    pods: list[PodInfo]
    queue: QueueInfo
    broken_modes: dict[str, str] = Field({}, description="mode → why it is out of service")
