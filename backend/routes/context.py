"""What routes depend on: the caller, the service and the parsed request."""

from typing import Annotated

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials

from backend.limits.people import of_person
from backend.replication.leadership import RELAYED_KEY
from backend.schemas import GenerationRequest
from backend.service import GenerationService
from backend.state import State
from backend.storage.generations import GenerationRow
from gpu_server import bodies
from gpu_server.schemas import Readiness
from web import errors, waiting
from web.api.document import KEY, Responses
from web.client import Photos
from web.content import UnsupportedMediaType


async def service_of(request: Request) -> GenerationService:
    return State.of(request.app).require_service()


Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(KEY)]


async def owner_of(request: Request, credentials: Credentials = None) -> str:
    """Return the name of the caller's API key. Raises Unauthorized."""
    presented = credentials.credentials if credentials else ""
    return State.of(request.app).keys.owner(presented)


async def is_known(request: Request, credentials: Credentials = None) -> bool:
    """Return whether the caller has a key, where keys are needed."""
    try:
        await owner_of(request, credentials)
    except errors.Unauthorized:
        return False
    return True


Service = Annotated[GenerationService, Depends(service_of)]
Owner = Annotated[str, Depends(owner_of)]


async def person_of(request: Request, _: Owner) -> str:
    """Return the person whom the header names, or "". Raises InvalidRequest."""
    return State.of(request.app).people.named_by(request.headers)


Person = Annotated[str, Depends(person_of)]


async def read_request(
    request: Request, service: Service, person: Person
) -> tuple[GenerationRequest, Photos]:
    wanted, photos = await bodies.read(request, GenerationRequest, service.catalog)
    return of_person(wanted, person), photos


Body = Annotated[tuple[GenerationRequest, Photos], Depends(read_request)]
IsKnown = Annotated[bool, Depends(is_known)]
Accept = Annotated[str, Header(include_in_schema=False)]
"""OpenAPI names the media types of an answer instead."""
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="repeating a request under the same key gives the same generation",
    ),
]


def survives_disconnect(key: str | None) -> bool:
    """Return whether a generation goes on when its caller hangs up.

    With a key of their own callers can come back for it; a key made by a replica gives nobody that.
    """
    return key is not None and not key.startswith(RELAYED_KEY)


def abandon_on_disconnect(
    service: GenerationService, row: GenerationRow, key: str | None
) -> waiting.Release:
    """Return a callback that abandons the generation of a caller who has hung up."""

    async def release(complete: bool) -> None:
        if not complete and not survives_disconnect(key):
            await service.abandon(row)

    return release


REQUEST_ERRORS = errors.documented(
    *errors.REQUEST_ERRORS, UnsupportedMediaType, errors.RateLimited, errors.QuotaExceeded
)
OUTCOME_ERRORS = errors.documented(*errors.OUTCOME_ERRORS)
NOT_FOUND = errors.documented(errors.NotFound)
OPEN = errors.documented(errors.ForeignRequest)
NOT_READY: Responses = {503: errors.documented(errors.NoGpu)[503] | {"model": Readiness}}
CLOSED = errors.documented(errors.Unauthorized, errors.ForeignRequest, errors.NoGpu)
"""How every route may answer that needs a key and the scheduling replica."""
