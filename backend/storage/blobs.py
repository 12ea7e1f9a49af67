"""Image and photo bytes, in files or in an object store."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote
from uuid import UUID

import obstore
import structlog
from cachetools import FIFOCache
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import from_url

from backend.storage.generations import GenerationRow
from web.errors import EaselError
from workflows.spec import IMAGE

log = structlog.get_logger()
T = TypeVar("T")

_RECENT_BYTES = 32_000_000
_STAGED = re.compile(r"#\d+$")
"""How the names of files end that are being written: `obstore` neither lists nor removes them."""
_LISTED_AT_ONCE = 1000


class BlobsAway(EaselError, code="no_gpu", status=503):
    """The object store cannot be used: its disk is full, read-only or broken, or it is away."""

    title = "The image store cannot be used"

    def __init__(self) -> None:
        super().__init__(
            "The store of images and photos cannot be read or written now. What is in it is kept; "
            "try again later",
            retry_after=10.0,
        )


BLOB_ERRORS = (BlobsAway,)
"""What every call raises while the object store is unavailable."""


class BlobStore:
    """The images of generations that succeeded and the photos of those that have not ended."""

    def __init__(self, url: str) -> None:
        self.folder = Path(unquote(url.removeprefix("file://"))) if _is_folder(url) else None
        """None: an object store, which others may share."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._store: Any = from_url(url)
        self._recent = FIFOCache[str, bytes](_RECENT_BYTES, getsizeof=len)
        """The newest images: a caller who waits for one need not read back what was just stored."""

    async def put_image(self, generation_id: UUID, number: int, data: bytes) -> None:
        path = _image_path(generation_id, number)
        await self._put(path, data)
        with suppress(ValueError):  # larger than the whole cache
            self._recent[path] = data

    async def image(self, generation_id: UUID, number: int) -> bytes | None:
        path = _image_path(generation_id, number)
        return self._recent.get(path) or await self._read(path)

    async def put_photo(self, row: GenerationRow, name: str, data: bytes) -> None:
        await self._put(_photo_path(row, name), data)

    async def photos(self, row: GenerationRow) -> dict[str, bytes]:
        """Return those of its photos that are still there, by the names of their parameters."""
        found = [(name, await self._read(_photo_path(row, name))) for name in row.photos]
        return {name: data for name, data in found if data is not None}

    async def remove_photos(self, row: GenerationRow) -> None:
        for name in row.photos:
            await self.remove(_photo_path(row, name))

    async def remove_all(self, row: GenerationRow) -> None:
        """Remove every file the generation may have, even if it was interrupted."""
        for number in range(row.request.count):
            await self.remove(_image_path(row.id, number))
        await self.remove_photos(row)

    async def old(self, kind: str, before: float) -> AsyncIterator[dict[str, str]]:
        """Yield batches of `photos` or `images` stored before this Unix time: path → id."""
        listed = obstore.list(self._store, kind, chunk_size=_LISTED_AT_ONCE)
        while True:
            batch = await _translated(asyncio.to_thread(next, listed, None))
            if batch is None:
                return
            old = [entry["path"] for entry in batch if entry["last_modified"].timestamp() < before]
            yield {path: path.rpartition("/")[2][:36] for path in old}

    async def remove_staged(self, before: float) -> int:
        """Remove files whose writer was killed before this Unix time. Return their number."""
        if self.folder is None:
            return 0
        return await asyncio.to_thread(_remove_staged, self.folder, before)

    async def _put(self, path: str, data: bytes) -> None:
        # In one part: of several, a killed process leaves some that no listing shows.
        await _translated(obstore.put_async(self._store, path, data, use_multipart=False))

    async def _read(self, path: str) -> bytes | None:
        with suppress(NotFoundError, FileNotFoundError):
            found = await _translated(obstore.get_async(self._store, path))
            return bytes(await _translated(found.bytes_async()))
        return None

    async def remove(self, path: str) -> None:
        self._recent.pop(path, None)
        with suppress(NotFoundError, FileNotFoundError):
            await _translated(obstore.delete_async(self._store, path))


async def _translated(call: Awaitable[T]) -> T:
    """Await a call of the object store; raise BlobsAway if it is unavailable."""
    try:
        return await call
    except (NotFoundError, FileNotFoundError):
        raise
    except (BaseError, OSError) as error:
        # The message names files of this host: for the log only.
        log.warning("object_store_unavailable", error=type(error).__name__, reason=str(error)[:300])
        raise BlobsAway from error


def _is_folder(url: str) -> bool:
    return url.startswith("file://")


def _remove_staged(folder: Path, before: float) -> int:
    removed = 0
    for path in folder.rglob("*#*"):
        with suppress(OSError):  # written, or removed, meanwhile
            if _STAGED.search(path.name) and path.stat().st_mtime < before and path.is_file():
                path.unlink()
                removed += 1
    return removed


def _image_path(generation_id: UUID, number: int) -> str:
    text = str(generation_id)
    return f"images/{text[:2]}/{text}-{number}"


def _photo_path(row: GenerationRow, name: str) -> str:
    # With the fingerprint, so that another request under the same id never gets this photo.
    path = f"photos/{row.id}-{row.fingerprint[:16]}"
    return path if name == IMAGE else f"{path}-{name}"
