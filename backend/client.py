"""The client of the backend, for the bot, scripts and tests."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from backend.schemas import (
    BackendHealth,
    Generation,
    GenerationEnded,
    GenerationList,
    GenerationRequest,
    ModeInfo,
    Preview,
    ProgressEvent,
    RefusalCount,
    UserDeleted,
)
from gpu_server.schemas import Result
from web.client import Message, Peer, Photos, body
from web.errors import EaselError

GenerationEvent = Generation | ProgressEvent | Preview
_EVENTS: dict[str, type[Generation] | type[ProgressEvent] | type[Preview]] = {
    "state": Generation,
    "result": Generation,
    "progress": ProgressEvent,
    "preview": Preview,
}
_TURN_S = 600.0
"""How long a caller who waits for the images may have to wait for their turn."""


class BackendUnreachable(EaselError, code="backend_unreachable", status=503):
    """The backend does not answer; whether it handled the request is unknown."""

    title = "The backend does not answer"


@dataclass(frozen=True)
class BackendClient:
    """Raises EaselErrors: those the backend answered with, or BackendUnreachable."""

    peer: Peer

    @classmethod
    def at(cls, url: str, key: str = "", *, connections: int = 100) -> "BackendClient":
        """Connect to a backend; requests and event streams beyond `connections` at a time wait."""
        return cls(Peer(url, key, lost=BackendUnreachable, connections=connections))

    async def close(self) -> None:
        await self.peer.close()

    async def modes(self) -> list[ModeInfo]:
        answer = await self.peer.request("GET", "/modes")
        return [ModeInfo.model_validate(mode) for mode in answer.json()]

    async def health(self) -> BackendHealth:
        answer = await self.peer.request("GET", "/health")
        return BackendHealth.model_validate_json(answer.content)

    async def put(
        self,
        generation_id: UUID,
        request: GenerationRequest | Mapping[str, Any],
        photos: Photos | None = None,
    ) -> Generation:
        """Request a generation under this id; harmless when repeated with the same request."""
        if isinstance(request, GenerationRequest):  # what was left to its defaults is not sent
            request = request.model_dump(mode="json", exclude_unset=True)
        options = body(request, photos or {})
        answer = await self.peer.request("PUT", f"/generations/{generation_id}", **options)
        return Generation.model_validate_json(answer.content)

    @asynccontextmanager
    async def generate(
        self, request: Mapping[str, Any]
    ) -> AsyncIterator[AsyncIterator[GenerationEvent | Result]]:
        """Draw and follow; who leaves before the end cancels it, as by hanging up.

        The last event is a Result, or a Generation that has ended without images.
        """
        options = body(request, {})
        async with self.peer.stream("POST", "/generate", quiet_s=_TURN_S, **options) as events:
            yield (known async for event in events if (known := _drawn(event)) is not None)

    async def get(self, generation_id: UUID) -> Generation:
        answer = await self.peer.request("GET", f"/generations/{generation_id}")
        return Generation.model_validate_json(answer.content)

    @asynccontextmanager
    async def follow(
        self, generation_id: UUID, *, previews: bool = False
    ) -> AsyncIterator[AsyncIterator[GenerationEvent]]:
        """Follow the generation's events; the last is a Generation that has ended."""
        params = {"previews": "true"} if previews else {}
        path = f"/generations/{generation_id}/events"
        async with self.peer.stream("GET", path, params=params) as events:
            yield (known async for event in events if (known := _known(event)) is not None)

    async def image(self, generation_id: UUID, number: int, image_format: str = "") -> bytes:
        """Return an image's bytes, as drawn or in another format (png, jpeg, webp)."""
        params = {"format": image_format} if image_format else {}
        path = f"/generations/{generation_id}/images/{number}"
        return (await self.peer.request("GET", path, params=params)).content

    async def delete(self, generation_id: UUID) -> GenerationEnded:
        """Cancel the generation, or delete it with its images when it has ended."""
        answer = await self.peer.request("DELETE", f"/generations/{generation_id}", timeout_s=45)
        return GenerationEnded.model_validate_json(answer.content)

    async def list(self, user: str, *, limit: int = 20, cursor: str = "") -> GenerationList:
        """List the user's generations, newest first."""
        params = {"user": user, "limit": limit} | ({"cursor": cursor} if cursor else {})
        answer = await self.peer.request("GET", "/generations", params=params)
        return GenerationList.model_validate_json(answer.content)

    async def delete_user(self, user: str) -> UserDeleted:
        answer = await self.peer.request("DELETE", "/users", params={"user": user}, timeout_s=45)
        return UserDeleted.model_validate_json(answer.content)

    async def refusals(self) -> tuple[RefusalCount, ...]:
        """Count the refusals of the last 30 days by user and category, most first."""
        answer = await self.peer.request("GET", "/refusals")
        return tuple(RefusalCount.model_validate(count) for count in answer.json())


def _drawn(message: Message) -> GenerationEvent | Result | None:
    """Read an event of a caller who waits, whose `result` may hold the images."""
    try:
        return _known(message) or Result.model_validate_json(message.data)
    except ValidationError:
        return None


def _known(message: Message) -> GenerationEvent | None:
    """Read an event; None for one that only a newer client can read."""
    kind = _EVENTS.get(message.event)
    try:
        return kind.model_validate_json(message.data) if kind else None
    except ValidationError:
        return None
