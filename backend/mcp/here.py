"""The backend of this process, as the owner of an API key may use it."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import anyio

from backend.limits.people import of_person
from backend.links import Links
from backend.mcp.studio import Happening
from backend.routes.context import abandon_on_disconnect
from backend.schemas import Generation, GenerationEnded, GenerationRequest
from backend.service import GenerationService
from gpu_server import bodies
from gpu_server.schemas import ModeInfo
from web import waiting
from web.errors import EaselError


@dataclass(frozen=True)
class Here:
    """`person` is whom a header names; `key` is of a call that another replica handed on."""

    service: GenerationService
    owner: str
    links: Links
    base_url: str
    person: str = ""
    key: str | None = None
    photo_forms: str = "base64, a data URL, or the id of an earlier generation"

    async def modes(self) -> list[ModeInfo]:
        return self.service.platform.modes()

    @asynccontextmanager
    async def generate(self, fields: dict[str, Any]) -> AsyncIterator[AsyncIterator[Happening]]:
        service = self.service
        request, photos = await bodies.parse(fields, GenerationRequest, service.catalog)
        request = of_person(request, self.person)
        # What is committed must be known here, so that a call which is cancelled meanwhile ends it.
        with anyio.CancelScope(shield=True):
            row, _ = await service.acceptance.accept(
                uuid4(), self.owner, request, photos, key=self.key, wait=True
            )
        release = abandon_on_disconnect(service, row, self.key)
        events = waiting.followed(service.events(row, with_images=True), release)
        async with aclosing(events):
            yield (data async for event in events if isinstance(data := event.data, Happening))

    async def get(self, generation_id: UUID) -> Generation:
        return self.service.view(await self.service.get(generation_id, self.owner))

    async def image(self, generation_id: UUID, number: int) -> bytes:
        row = await self.service.get(generation_id, self.owner)
        return await self.service.image(row, number)

    async def end(self, generation_id: UUID) -> GenerationEnded:
        return await self.service.end(await self.service.get(generation_id, self.owner))

    async def urls(self, generation_id: UUID, count: int) -> list[str]:
        row = await self.service.get(generation_id, self.owner)
        return [self.base_url + self.links.path(row.id, number) for number in range(count)]

    def refused(self, error: EaselError) -> None:
        self.service.acceptance.metrics.answered_with(error)

    async def file(self, name: str) -> bytes | None:  # noqa: ARG002
        """Return None: the files here are not the caller's."""
        return None
