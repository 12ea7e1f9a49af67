"""Image and photo bytes, in files or in an object store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import obstore
from cachetools import FIFOCache
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import from_url

from backend.storage.generations import GenerationRow

BLOB_ERRORS = (BaseError, OSError)
"""What the object store may raise while it is unavailable."""
_RECENT_BYTES = 32_000_000


class BlobStore:
    """The images of generations that succeeded and the photos of those that have not ended."""

    def __init__(self, url: str) -> None:
        if url.startswith("file://"):
            folder = Path(unquote(url.removeprefix("file://")))
            folder.mkdir(parents=True, exist_ok=True)
        self._store: Any = from_url(url)
        self._recent = FIFOCache[str, bytes](_RECENT_BYTES, getsizeof=len)
        """The newest images: a caller who waits for one need not read back what was just stored."""

    async def put_image(self, generation_id: UUID, number: int, data: bytes) -> None:
        path = _image_path(generation_id, number)
        await obstore.put_async(self._store, path, data)
        with suppress(ValueError):  # larger than the whole cache
            self._recent[path] = data

    async def image(self, generation_id: UUID, number: int) -> bytes | None:
        path = _image_path(generation_id, number)
        return self._recent.get(path) or await self._read(path)

    async def put_photo(self, row: GenerationRow, data: bytes) -> None:
        await obstore.put_async(self._store, _photo_path(row), data)

    async def photo(self, row: GenerationRow) -> bytes | None:
        return await self._read(_photo_path(row))

    async def remove_photo(self, row: GenerationRow) -> None:
        await self.remove(_photo_path(row))

    async def remove_all(self, row: GenerationRow) -> None:
        """Remove every file the generation may have, even if it was interrupted."""
        for number in range(row.request.count):
            await self.remove(_image_path(row.id, number))
        if row.has_photo:
            await self.remove_photo(row)

    async def old_photos(self, before: float) -> AsyncIterator[dict[str, str]]:
        """Yield batches of photos stored before this Unix time: path → generation id."""
        for batch in await asyncio.to_thread(lambda: list(obstore.list(self._store, "photos"))):
            old = [entry["path"] for entry in batch if entry["last_modified"].timestamp() < before]
            yield {path: path.rpartition("/")[2][:36] for path in old}

    async def _read(self, path: str) -> bytes | None:
        try:
            found = await obstore.get_async(self._store, path)
        except (NotFoundError, FileNotFoundError):
            return None
        return bytes(await found.bytes_async())

    async def remove(self, path: str) -> None:
        self._recent.pop(path, None)
        with suppress(NotFoundError, FileNotFoundError):
            await obstore.delete_async(self._store, path)


def _image_path(generation_id: UUID, number: int) -> str:
    text = str(generation_id)
    return f"images/{text[:2]}/{text}-{number}"


def _photo_path(row: GenerationRow) -> str:
    # With the fingerprint, so that another request under the same id never gets this photo.
    return f"photos/{row.id}-{row.fingerprint[:16]}"
