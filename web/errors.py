"""The errors: one class per stable code, an exception here and a problem on the wire.

A server raises them and `web.edge` answers with them as RFC 9457 has it; a client raises the class
that the answer names.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field

Retry = Literal["never", "same_pod", "other_pod"]
"""Where another try can help: nowhere, on the same pod, or only on another one."""

CODES: dict[str, type["EaselError"]] = {}
MAX_NAMED = 40
"""How many wrong fields an answer names."""
_LONGEST_ALLOWED = 400
"""Characters of what is allowed up to which a sentence says it."""
UNCHECKED = "unchecked"
"""The category of a refusal because the safety check is out of order: nobody's offence."""


class FieldError(BaseModel):
    """One wrong field: what is wrong with it and what is allowed."""

    field: str = Field(examples=["style"])
    message: str = Field(examples=["'anme' is not known; did you mean 'anime'?"])
    allowed: str | list[str] | None = Field(None, examples=[["anime", "realism"]])

    def sentence(self) -> str:
        """Say what is wrong, and what is allowed unless the message says it."""
        allowed = self.allowed if isinstance(self.allowed, str) else ", ".join(self.allowed or ())
        told = f"{self.field}: {self.message}"
        if not allowed or allowed in self.message or len(allowed) > _LONGEST_ALLOWED:
            return told
        return f"{told} (allowed: {allowed})"


class Problem(BaseModel):
    """An error answer, `application/problem+json`; `detail` can be shown to a person."""

    type: str = Field(examples=["urn:easel:error:invalid_request"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["style: 'anme' is not known; did you mean 'anime'?"])
    code: str = Field(examples=["invalid_request"])
    request_id: str = Field("", examples=["4f0c3f6e9d8b4c6e8f7a1b2c3d4e5f60"])
    errors: list[FieldError] = []
    category: str | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Of `content_refused` only, for programs: "
        "`sexual_minors`, `real_person_sexual`, `undress`, `sexual` (by the words); "
        "`nudity`, `sexualised` (by the picture); `unchecked` (the safety check is out of order).",
        examples=["sexual"],
    )


class EaselError(Exception):
    """An error with a code that programs rely on, and the HTTP status of its answer.

    `title` says what the code means; `detail` what was wrong and what to do, for a person. After
    `retry_after` seconds another try can help. `category` is why content was refused. The answer
    has `headers` as well.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    retry: ClassVar[Retry] = "never"
    headers: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, *, code: str, status: int) -> None:
        cls.code, cls.status = code, status
        CODES.setdefault(code, cls)

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        retry_after: float | None = None,
        category: str | None = None,
    ) -> None:
        # It may quote what a caller wrote, and JSON has no lone surrogates.
        self.detail = (detail or self.title).encode(errors="replace").decode()
        self.errors = list(errors)
        self.retry_after = retry_after
        self.category = category
        super().__init__(self.detail)

    @classmethod
    def of(cls, errors: Sequence[FieldError]) -> Self:
        """Name every wrong field at once, in the detail too; of very many the first."""
        shown = list(errors[:MAX_NAMED])
        if len(errors) > MAX_NAMED:
            message = f"has {len(errors) - MAX_NAMED} more faults"
            shown.append(FieldError(field="body", message=message))
        return cls("; ".join(fault.sentence() for fault in shown), errors=shown)

    def problem(self, request_id: str = "") -> Problem:
        return Problem(
            type=f"urn:easel:error:{self.code}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            code=self.code,
            request_id=request_id,
            errors=self.errors,
            category=self.category,
        )


class InvalidRequest(EaselError, code="invalid_request", status=422):
    title = "The request is not valid"


class InvalidImage(EaselError, code="invalid_image", status=422):
    title = "The image cannot be used"


class TooLarge(EaselError, code="too_large", status=413):
    title = "The request is too large"


class ContentRefused(EaselError, code="content_refused", status=422):
    title = "This server does not make such pictures"


class Unauthorized(EaselError, code="unauthorized", status=401):
    title = "A valid key is needed"
    retry = "other_pod"
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class ForeignRequest(Unauthorized, code="unauthorized", status=403):
    """Not 401: where there are no keys, no other credentials would help."""

    title = "Web pages of other origins may not use this service without a key"
    headers: ClassVar[dict[str, str]] = {}


class NotFound(EaselError, code="not_found", status=404):
    title = "There is no such thing here"
    retry = "other_pod"


class Conflict(EaselError, code="conflict", status=409):
    title = "This id is taken by another request"
    retry = "other_pod"


class Cancelled(EaselError, code="cancelled", status=409):
    title = "The generation was cancelled"


class RateLimited(EaselError, code="rate_limited", status=429):
    title = "Too many requests"
    retry = "other_pod"


class QuotaExceeded(EaselError, code="quota_exceeded", status=429):
    title = "The day's pictures are used up"


class QueueFull(EaselError, code="queue_full", status=429):
    title = "The queue is full"
    retry = "other_pod"


class NoGpu(EaselError, code="no_gpu", status=503):
    title = "No GPU can draw this now"
    retry = "other_pod"


class ModelMissing(EaselError, code="model_missing", status=503):
    title = "A model file is missing"
    retry = "other_pod"


class Timeout(EaselError, code="timeout", status=504):
    title = "It took too long"


class OutOfMemory(EaselError, code="out_of_memory", status=502):
    title = "The GPU ran out of memory"


class EngineError(EaselError, code="engine_error", status=502):
    title = "ComfyUI could not draw this"


class EngineLost(EaselError, code="engine_lost", status=502):
    title = "ComfyUI was lost"
    retry = "same_pod"


class Internal(EaselError, code="internal", status=500):
    title = "Something broke on our side"
    retry = "same_pod"


def error_from(problem: Problem, retry_after: float | None = None) -> EaselError:
    """Return the exception that a problem stands for; Internal for an unknown code."""
    kind = CODES.get(problem.code, Internal)
    return kind(
        problem.detail, errors=problem.errors, retry_after=retry_after, category=problem.category
    )


def error_from_answer(
    status: int, body: bytes, retry_after: str | None, default: type[EaselError] = EngineLost
) -> EaselError:
    """Return the exception for an error answer, be it ours or a proxy's."""
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    try:
        return error_from(Problem.model_validate_json(body), seconds)
    except ValueError:
        return default(f"The server answered {status}", retry_after=seconds)


REQUEST_ERRORS = (
    InvalidRequest,
    InvalidImage,
    TooLarge,
    ContentRefused,
    Conflict,
    QueueFull,
    NoGpu,
    ModelMissing,
)
"""How a request to draw may be refused."""
OUTCOME_ERRORS = (Cancelled, Timeout, OutOfMemory, EngineError, EngineLost)
"""How an accepted request may end without images."""


_WHOLE = {"type": "integer"}


def documented(*kinds: type[EaselError]) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's `responses=` for these errors."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        entry = responses.setdefault(kind.status, {"description": "", "content": {}})
        entry["description"] += f"`{kind.code}`: {kind.title}. "
        schema = {"$ref": "#/components/schemas/Problem"}
        entry["content"] = {"application/problem+json": {"schema": schema}}
        if kind.status in (429, 503):
            entry["headers"] = {"Retry-After": {"description": "seconds", "schema": _WHOLE}}
    return responses
