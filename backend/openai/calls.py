"""What every route of OpenAI's API needs: who calls, the models, the way to an image."""

import asyncio
import base64
from dataclasses import dataclass
from typing import Annotated
from uuid import uuid4

from fastapi import Depends, Request

from backend.limits.people import of_person
from backend.links import Links
from backend.openai.answers import About
from backend.openai.models import Models
from backend.openai.requests import ImageCall
from backend.routes.context import IdempotencyKey, Owner, Person, Service, abandon_on_disconnect
from backend.state import State
from backend.storage.generations import GenerationRow
from web import errors, waiting


async def links_of(request: Request) -> Links:
    return Links.of(State.of(request.app).keys.keys)


async def models_of(request: Request, service: Service) -> Models:
    return Models(service.catalog, State.of(request.app).model_aliases, service.can_draw)


SignedLinks = Annotated[Links, Depends(links_of)]
KnownModels = Annotated[Models, Depends(models_of)]


@dataclass(frozen=True)
class Caller:
    """Who asks for images, and what is needed to answer."""

    service: Service
    owner: Owner
    person: Person
    links: SignedLinks
    models: KnownModels
    request: Request
    idempotency_key: IdempotencyKey = None

    async def accept(self, call: ImageCall) -> GenerationRow:
        row, _ = await self.service.acceptance.accept(
            uuid4(),
            self.owner,
            of_person(call.request, self.person),
            call.photos,
            key=self.idempotency_key,
            wait=True,
            whole_prompt=call.whole_prompt,
        )
        return row

    async def finished(self, row: GenerationRow) -> GenerationRow:
        """Wait for the images; a caller who hangs up meanwhile abandons them."""
        return await waiting.waited(self.request, self.service.finished(row), self.release(row))

    def release(self, row: GenerationRow) -> waiting.Release:
        return abandon_on_disconnect(self.service, row, self.idempotency_key)

    def url(self, row: GenerationRow, number: int, *, lasting: bool = False) -> str:
        """Return where an image can be fetched without a key."""
        base = str(self.service.public_url or self.request.base_url).rstrip("/")
        return base + self.links.path(row.id, number, lasting=lasting)


AnyCaller = Annotated[Caller, Depends()]


def about(call: ImageCall, row: GenerationRow) -> About:
    """Return what an answer says of the images of a generation that succeeded."""
    if row.outcome is None:
        raise errors.Internal
    image = row.outcome.images[0]
    return About(
        output_format=call.request.format,
        size=f"{image.width}x{image.height}",
        safety_identifier=row.request.user or None,
    )


async def in_base64(image: bytes) -> str:
    return (await asyncio.to_thread(base64.b64encode, image)).decode()
