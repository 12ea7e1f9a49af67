"""What routes are handed: who calls, the service behind, the request as it came."""

import json
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from backend.access import Keys
from backend.replicas import RELAYED_KEY
from backend.schemas import GenerationRequest
from backend.service import GenerationService
from web import edge, errors, photos

Accept = Annotated[str, Header(description="the media type of the answer")]


def service_of(request: Request) -> GenerationService:
    service: GenerationService = request.app.state.service
    return service


def owner_of(request: Request, authorization: Annotated[str, Header()] = "") -> str:
    """The name of the caller's API key; raises Unauthorized."""
    keys: Keys = request.app.state.keys
    return keys.owner(authorization)


Serving = Annotated[GenerationService, Depends(service_of)]
Owner = Annotated[str, Depends(owner_of)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="repeating a request under the same key gives the same generation",
    ),
]


def comes_back(key: str | None) -> bool:
    """Whether the caller means to come back; otherwise hanging up is giving up."""
    return key is not None and not key.startswith(RELAYED_KEY)


def parse(text: Any) -> GenerationRequest:
    """A request's JSON; raises InvalidRequest."""
    try:
        given = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise errors.InvalidRequest("The body is not valid JSON") from error
    if not isinstance(given, dict):
        raise errors.InvalidRequest("The body must be a JSON object")
    try:
        return GenerationRequest.model_validate(given)
    except ValidationError as error:
        raise edge.invalid_request(error) from error


async def read_request(request: Request) -> tuple[GenerationRequest, bytes | None]:
    """The request and its photo, from JSON (photo in base64) or a form (photo as a file)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=2, max_part_size=1_000_000) as form:
            asked = parse(form.get("request"))
            file = form.get("image")
            photo = await file.read() if isinstance(file, UploadFile) else None
            return asked, None if photo is None else photos.check_bytes(photo)
    asked = parse(await request.body())
    image = (asked.model_extra or {}).pop("image", None)
    return asked, None if image is None else photos.from_base64(image)


Body = Annotated[tuple[GenerationRequest, bytes | None], Depends(read_request)]

REQUEST_ERRORS = errors.documented(
    errors.InvalidRequest,
    errors.InvalidImage,
    errors.TooLarge,
    errors.ContentRefused,
    errors.Conflict,
    errors.RateLimited,
    errors.QuotaExceeded,
    errors.QueueFull,
    errors.NoGpu,
    errors.ModelMissing,
)
OUTCOME_ERRORS = errors.documented(
    errors.Cancelled,
    errors.Timeout,
    errors.OutOfMemory,
    errors.EngineError,
    errors.EngineLost,
)
NOT_FOUND = errors.documented(errors.NotFound)
