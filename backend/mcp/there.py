"""A backend over HTTP, for the process that an agent starts on its own host."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from backend.client import BackendClient
from backend.mcp.studio import Happening
from backend.schemas import Generation, GenerationEnded
from gpu_server.pictures import uploads
from gpu_server.schemas import ModeInfo
from web.errors import EaselError, FieldError, InvalidRequest

_LONGEST_PATH = 1000


@dataclass(frozen=True)
class There:
    client: BackendClient
    photo_forms: str = (
        "the whole path of a file on this computer, the id of an earlier generation, "
        "base64 or a data URL"
    )

    async def modes(self) -> list[ModeInfo]:
        return await self.client.modes()

    @asynccontextmanager
    async def generate(self, fields: dict[str, Any]) -> AsyncIterator[AsyncIterator[Happening]]:
        async with self.client.generate(fields) as events:
            yield events

    async def get(self, generation_id: UUID) -> Generation:
        return await self.client.get(generation_id)

    async def image(self, generation_id: UUID, number: int) -> bytes:
        drawn = (await self.client.get(generation_id)).images
        kind = drawn[number].media_type.removeprefix("image/") if number < len(drawn) else ""
        return await self.client.image(generation_id, number, kind)

    async def end(self, generation_id: UUID) -> GenerationEnded:
        return await self.client.delete(generation_id)

    async def urls(self, generation_id: UUID, count: int) -> list[str]:
        base = self.client.peer.url.rstrip("/")
        return [f"{base}/generations/{generation_id}/images/{number}" for number in range(count)]

    def refused(self, error: EaselError) -> None:
        """Note nothing: the backend answered with it, and has counted it."""

    async def file(self, name: str) -> bytes | None:
        """Read a photo of the person whose process this is."""
        path = _path(name)
        return None if path is None else await asyncio.to_thread(_photo, path)


def _path(text: str) -> Path | None:
    """Return the file that a text names; base64 of a JPEG begins with a slash too."""
    if len(text) > _LONGEST_PATH or "\0" in text:
        return None
    if text.startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    path = Path(text)
    return path if path.is_absolute() and path.suffix else None


def _photo(path: Path) -> bytes:
    """Raise InvalidRequest if there is no such file, InvalidImage or TooLarge if it is no photo."""
    try:
        if path.is_file():  # not a pipe, which would never end
            with path.open("rb") as file:
                data = file.read(uploads.MAX_BYTES + 1)
            uploads.decode(data)  # nothing but pictures leaves this computer
            return data
    except OSError:
        pass
    fault = FieldError(
        field="image", message="no such file can be read here", allowed=uploads.ALLOWED
    )
    raise InvalidRequest.of([fault])
