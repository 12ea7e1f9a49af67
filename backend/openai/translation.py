"""Translate requests, answers, events and errors between OpenAI's Images API and ours. Pure.

Field names and shapes follow OpenAI's API reference for images and what its Python client reads.
"""

import base64
import time
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.schemas import USER_CHARACTERS, USER_LENGTH, GenerationRequest
from gpu_server.pictures.formats import ImageFormat
from web import errors
from workflows.catalog import Catalog

PREFIX = "easel-"


class ImageRequest(BaseModel):
    """The body of `POST /v1/images/generations`, and the fields of edits besides the image."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    prompt: str = ""
    model: str | None = Field(None, examples=["easel-free", "easel-free:anime"])
    n: int | None = Field(1, ge=1)
    size: str | None = Field("auto", pattern=r"^(auto|\d{2,4}x\d{2,4})$", examples=["1024x1024"])
    response_format: Literal["url", "b64_json"] | None = None
    output_format: ImageFormat | None = None
    user: str | None = Field(None, max_length=USER_LENGTH, pattern=USER_CHARACTERS)
    stream: bool | None = False
    partial_images: int | None = Field(0, ge=0, le=3)
    seed: int | None = Field(None, description="not in OpenAI's API: as everywhere in Easel")
    strength: float | None = Field(None, description="not in OpenAI's API: for easel-restyle")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data

    # Accepted without effect.
    quality: str | None = None
    style: str | None = None
    background: str | None = None
    moderation: str | None = None
    output_compression: int | None = None
    input_fidelity: str | None = None


@dataclass(frozen=True)
class ImageCall:
    """The request in our terms, and the form of its answer."""

    request: GenerationRequest
    as_url: bool
    stream: bool
    partial_images: int
    size: str


class ModelNotFound(errors.NotFound, code="model_not_found", status=404):
    title = "There is no such model"


def model_ids(catalog: Catalog) -> list[str]:
    """List every mode, and every mode with each of its styles."""
    ids = []
    for mode in catalog:
        ids.append(f"{PREFIX}{mode.name}")
        ids += [f"{PREFIX}{mode.name}:{style}" for style in mode.styles]
    return ids


def translate(catalog: Catalog, body: ImageRequest, *, default_mode: str) -> ImageCall:
    """Translate a request. Raises ModelNotFound."""
    model = body.model or f"{PREFIX}{default_mode}"
    if model not in model_ids(catalog):
        raise ModelNotFound(
            f"model: '{model[:60]}' is not known; use one of {', '.join(model_ids(catalog))}"
        )
    mode, _, style = model.removeprefix(PREFIX).partition(":")
    fields: dict[str, Any] = {
        "mode": mode,
        "style": style or None,
        "prompt": body.prompt or None,
        "count": body.n,
        "seed": body.seed,
        "strength": body.strength,
    }
    size = body.size or "auto"
    if size != "auto":
        width, _, height = size.partition("x")
        fields |= {"width": int(width), "height": int(height)}
    request = GenerationRequest.model_validate(
        {key: value for key, value in fields.items() if value is not None}
        | {"format": body.output_format or "png", "user": body.user or ""}
    )
    return ImageCall(
        request,
        as_url=body.response_format == "url",
        stream=bool(body.stream),
        partial_images=body.partial_images or 0,
        size=size,
    )


def image_event(name: str, call: ImageCall, image: bytes, size: str) -> dict[str, Any]:
    """Return the event of an image, such as `image_edit.completed`."""
    return {
        "type": name,
        "b64_json": base64.b64encode(image).decode(),
        "created_at": int(time.time()),
        **about(call, size),
    }


def about(call: ImageCall, size: str) -> dict[str, Any]:
    """Return what answers and events say besides their images."""
    no_tokens = {"text_tokens": 0, "image_tokens": 0}
    return {
        "background": "opaque",
        "output_format": call.request.format,
        "quality": "high",
        "size": size,
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": no_tokens,
            "output_tokens": 0,
            "total_tokens": 0,
        },
    }


def model_entry(model_id: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": 1767225600, "owned_by": "easel"}


_CODES = {
    "unauthorized": "invalid_api_key",
    "rate_limited": "rate_limit_exceeded",
    "quota_exceeded": "insufficient_quota",
    "queue_full": "rate_limit_exceeded",
    "content_refused": "content_policy_violation",
}


_NAMES = {
    "count": "n",
    "width": "size",
    "height": "size",
    "format": "output_format",
    "mode": "model",
    "style": "model",
}
"""Easel's names of fields → OpenAI's."""


def _name(field: str) -> str:
    return _NAMES.get(field, field)


def _sentence(fault: errors.FieldError) -> str:
    side = f"{fault.field} " if fault.field in ("width", "height") else ""
    allowed = fault.allowed
    if isinstance(allowed, list):
        allowed = ", ".join(allowed)
    hint = f"; allowed: {allowed}" if allowed and len(allowed) < 500 else ""
    return f"{_name(fault.field)}: {side}{fault.message}{hint}"


def error_body(error: errors.EaselError) -> tuple[int, dict[str, Any]]:
    """Return the status and body of an error in OpenAI's shape, where our 422 is a 400."""
    if error.status == 429:
        kind = "rate_limit_error"
    elif error.status >= 500:
        kind = "server_error"
    else:
        kind = "invalid_request_error"
    param = _name(error.errors[0].field) if error.errors else None
    if param is None and isinstance(error, ModelNotFound):
        param = "model"
    shaped = {
        "message": "; ".join(map(_sentence, error.errors)) or error.detail,
        "type": kind,
        "param": param,
        "code": _CODES.get(error.code, error.code),
    }
    return (400 if error.status == 422 else error.status), {"error": shaped}
