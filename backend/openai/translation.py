"""OpenAI's Images API in our terms: requests, answers, events and errors, translated. Pure.

Field names and shapes as in OpenAI's API reference for images, and as its Python client reads them.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from backend.schemas import USER_CHARACTERS, USER_LENGTH, GenerationRequest
from gpu_server.pictures.formats import ImageFormat
from web import errors
from workflows.catalog import Catalog

URL_LIFETIME_S = 3600
PREFIX = "easel-"


class ImageRequest(BaseModel):
    """The body of `POST /v1/images/generations`; of edits beside the image."""

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

    # Taken and without effect here.
    quality: str | None = None
    style: str | None = None
    background: str | None = None
    moderation: str | None = None
    output_compression: int | None = None
    input_fidelity: str | None = None


@dataclass(frozen=True)
class Ask:
    """A request of ours, and how its answer is to look."""

    request: GenerationRequest
    as_url: bool
    stream: bool
    partial_images: int
    size: str


class ModelNotFound(errors.NotFound):
    code = "model_not_found"
    title = "There is no such model"


def model_ids(catalog: Catalog) -> list[str]:
    """Every mode, and every mode with each style."""
    ids = []
    for mode in catalog:
        ids.append(f"{PREFIX}{mode.name}")
        ids += [f"{PREFIX}{mode.name}:{style}" for style in mode.styles]
    return ids


def translate(catalog: Catalog, asked: ImageRequest, *, default_mode: str) -> Ask:
    """The request in our terms. Raises ModelNotFound."""
    model = asked.model or f"{PREFIX}{default_mode}"
    if model not in model_ids(catalog):
        raise ModelNotFound(
            f"model: '{model[:60]}' is not known; use one of {', '.join(model_ids(catalog))}"
        )
    mode, _, style = model.removeprefix(PREFIX).partition(":")
    given: dict[str, Any] = {
        "mode": mode,
        "style": style or None,
        "prompt": asked.prompt or None,
        "count": asked.n,
        "seed": asked.seed,
        "strength": asked.strength,
    }
    size = asked.size or "auto"
    if size != "auto":
        width, _, height = size.partition("x")
        given |= {"width": int(width), "height": int(height)}
    request = GenerationRequest.model_validate(
        {key: value for key, value in given.items() if value is not None}
        | {"format": asked.output_format or "png", "user": asked.user or ""}
    )
    return Ask(
        request,
        as_url=asked.response_format == "url",
        stream=bool(asked.stream),
        partial_images=asked.partial_images or 0,
        size=size,
    )


# -- answers ---------------------------------------------------------------------------------


def images_answer(ask: Ask, data: Sequence[dict[str, str]], size: str) -> dict[str, Any]:
    """The body of a finished request; `data` has a `b64_json` or `url` for each picture."""
    return {"created": int(time.time()), "data": list(data), **_about(ask, size)}


def partial_event(kind: str, ask: Ask, index: int, image: bytes, size: str) -> dict[str, Any]:
    """`kind` is image_generation or image_edit."""
    return {
        "type": f"{kind}.partial_image",
        "b64_json": base64.b64encode(image).decode(),
        "created_at": int(time.time()),
        "partial_image_index": index,
        **_about(ask, size),
    }


def completed_event(kind: str, ask: Ask, image: bytes, size: str) -> dict[str, Any]:
    return {
        "type": f"{kind}.completed",
        "b64_json": base64.b64encode(image).decode(),
        "created_at": int(time.time()),
        **_about(ask, size),
    }


def _about(ask: Ask, size: str) -> dict[str, Any]:
    no_tokens = {"text_tokens": 0, "image_tokens": 0}
    return {
        "background": "opaque",
        "output_format": ask.request.format,
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


def models_answer(catalog: Catalog) -> dict[str, Any]:
    return {"object": "list", "data": [model_entry(name) for name in model_ids(catalog)]}


# -- errors ----------------------------------------------------------------------------------

_CODES = {
    "unauthorized": "invalid_api_key",
    "rate_limited": "rate_limit_exceeded",
    "quota_exceeded": "insufficient_quota",
    "queue_full": "rate_limit_exceeded",
    "content_refused": "content_policy_violation",
}


def error_body(error: errors.EaselError) -> tuple[int, dict[str, Any]]:
    """Status and body of an error as OpenAI shapes it; its 422 is 400 there."""
    if error.status == 429:
        kind = "rate_limit_error"
    elif error.status >= 500:
        kind = "server_error"
    else:
        kind = "invalid_request_error"
    param = error.errors[0].field if error.errors else None
    if param is None and isinstance(error, ModelNotFound):
        param = "model"
    body = {
        "message": error.detail,
        "type": kind,
        "param": {"count": "n", "width": "size", "height": "size"}.get(param or "", param),
        "code": _CODES.get(error.code, error.code),
    }
    return (400 if error.status == 422 else error.status), {"error": body}


# -- links -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Links:
    """Addresses of pictures that work without a key for an hour, as OpenAI's do."""

    secret: bytes

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> "Links":
        """All replicas with the same keys read each other's links."""
        text = "\n".join(f"{name}:{key.get_secret_value()}" for name, key in sorted(keys.items()))
        return cls(hashlib.sha256(f"easel links\n{text}".encode()).digest())

    def path(self, generation_id: str, number: int) -> str:
        until = int(time.time()) + URL_LIFETIME_S
        return (
            f"/v1/files/{generation_id}/{number}/{until}/{self._mark(generation_id, number, until)}"
        )

    def check(self, generation_id: str, number: int, until: int, mark: str) -> None:
        """Raises NotFound when the address is over its time or not ours."""
        own = self._mark(generation_id, number, until)
        if not hmac.compare_digest(own.encode(), mark.encode()) or until < time.time():
            raise errors.NotFound("This address is over its time")

    def _mark(self, generation_id: str, number: int, until: int) -> str:
        text = f"{generation_id}/{number}/{until}"
        return hmac.new(self.secret, text.encode(), hashlib.sha256).hexdigest()[:40]
