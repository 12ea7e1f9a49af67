"""Errors in OpenAI's shape."""

from typing import Literal

from fastapi import Request, Response

from backend.openai.answers import ErrorDetail, OpenAIError
from backend.openai.models import ModelNotFound
from web import edge
from web.errors import EaselError

_CODES = {
    "unauthorized": "invalid_api_key",
    "rate_limited": "rate_limit_exceeded",
    "quota_exceeded": "insufficient_quota",
    "queue_full": "rate_limit_exceeded",
    "content_refused": "content_policy_violation",
}
STATUSES = (400, 401, 403, 404, 405, 409, 413, 415, 429, 500, 502, 503, 504)


def answer(error: EaselError, _: Request, request_id: str) -> Response:
    """Answer with an error as OpenAI's API words it; our 422 is its 400."""
    status = 400 if error.status == 422 else error.status
    headers = {**edge.retry_header(error), "x-request-id": request_id}
    body = in_openai_shape(error).model_dump_json()
    return Response(body, status, headers, media_type="application/json")


def in_openai_shape(error: EaselError) -> OpenAIError:
    param = error.errors[0].field if error.errors else None
    if param is None and isinstance(error, ModelNotFound):
        param = "model"
    return OpenAIError(
        error=ErrorDetail(
            message=error.detail,
            type=_kind(error.status),
            param=param,
            code=_CODES.get(error.code, error.code),
        )
    )


def _kind(status: int) -> Literal["invalid_request_error", "rate_limit_error", "server_error"]:
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"
