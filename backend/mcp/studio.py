"""What the tools need of a backend, be it in this process or elsewhere."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol
from uuid import UUID

from backend.schemas import Generation, GenerationEnded
from gpu_server.schemas import ModeInfo, Preview, ProgressEvent, Result
from web.errors import EaselError

Happening = Generation | ProgressEvent | Preview | Result


class Studio(Protocol):
    """All of it raises EaselErrors or InvalidValues."""

    @property
    def photo_forms(self) -> str:
        """Say what a photo may be given as."""
        ...

    async def modes(self) -> list[ModeInfo]: ...

    def generate(
        self, fields: dict[str, Any]
    ) -> AbstractAsyncContextManager[AsyncIterator[Happening]]:
        """Draw what a body of `POST /generate` says; who leaves before the end cancels it.

        The last event is a Result, or a Generation that has ended without images.
        """
        ...

    async def get(self, generation_id: UUID) -> Generation: ...

    async def image(self, generation_id: UUID, number: int) -> bytes: ...

    async def end(self, generation_id: UUID) -> GenerationEnded: ...

    async def urls(self, generation_id: UUID, count: int) -> list[str]:
        """Return where the images of a generation that succeeded can be fetched."""
        ...

    def refused(self, error: EaselError) -> None:
        """Note that a call is answered with an error, which HTTP knows nothing of."""
        ...

    async def file(self, name: str) -> bytes | None:
        """Return the photo in a file of the caller's; None if the text names none."""
        ...
