"""What routes are handed: who calls, the service behind, the request as it came."""

from typing import Annotated

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from backend.health import Platform
from backend.replication.leadership import RELAYED_KEY
from backend.schemas import GenerationRequest
from backend.service import GenerationService
from backend.state import State
from gpu_server import bodies
from web import errors

Accept = Annotated[str, Header(description="the media type of the answer")]


async def service_of(request: Request) -> GenerationService:
    return State.of(request.app).require_scheduling().service


async def platform_of(request: Request) -> Platform:
    return State.of(request.app).require_scheduling().platform


async def owner_of(
    request: Request,
    credentials: Annotated[
        HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))
    ] = None,
) -> str:
    """The name of the caller's API key; raises Unauthorized."""
    keys = State.of(request.app).keys
    return keys.owner(credentials.credentials if credentials else "")


Serving = Annotated[GenerationService, Depends(service_of)]
Health = Annotated[Platform, Depends(platform_of)]
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


async def read_request(
    request: Request, service: Serving
) -> tuple[GenerationRequest, bytes | None]:
    return await bodies.read(request, GenerationRequest, service.catalog)


Body = Annotated[tuple[GenerationRequest, bytes | None], Depends(read_request)]

REQUEST_ERRORS = errors.documented(*errors.REQUEST_ERRORS, errors.RateLimited, errors.QuotaExceeded)
OUTCOME_ERRORS = errors.documented(*errors.OUTCOME_ERRORS)
NOT_FOUND = errors.documented(errors.NotFound)
