"""Files that passed through the local Telegram: in memory, the oldest dropped beyond a bound."""

import asyncio
import mimetypes
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import PurePath

from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.images import Rendition, photo_sizes

_MAX_DOCUMENT_BYTES = 50 * 1024 * 1024


@dataclass(frozen=True)
class StoredFile:
    """`kind` is "Photo", "Document" or "Thumbnail"; `path` is the `file_path` of getFile."""

    file_id: str
    unique_id: str
    path: str
    name: str
    media_type: str
    data: bytes
    kind: str

    def api(self) -> Json:
        return {
            "file_id": self.file_id,
            "file_unique_id": self.unique_id,
            "file_size": len(self.data),
        }


class FileStore:
    """Photos and documents by file id; `max_bytes` bounds the memory they take."""

    def __init__(self, max_bytes: int) -> None:
        self._files: OrderedDict[str, StoredFile] = OrderedDict()
        self._by_path: dict[str, str] = {}
        self._photos: dict[str, list[Json]] = {}
        self._documents: dict[str, Json] = {}
        self._max_bytes = max_bytes
        self._bytes = 0
        self._count = 0

    async def add_photo(self, data: bytes, *, from_bot: bool = True) -> list[Json]:
        """Store a photo; return its sizes in Bot API form, smallest first."""
        renditions = await asyncio.to_thread(photo_sizes, data, from_bot=from_bot)
        sizes = [self._add_rendition(r, "photo.jpg", "Photo") for r in renditions]
        self._photos |= {size["file_id"]: sizes for size in sizes}
        return sizes

    async def add_document(self, data: bytes, name: str) -> Json:
        """Store a document; return it in Bot API form, an image with its thumbnail."""
        if not data:
            raise BadRequest("file must be non-empty")
        if len(data) > _MAX_DOCUMENT_BYTES:
            raise BadRequest("file is too big")
        name = PurePath(name.replace("\\", "/")).name[:255] or "file"
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        thumbnail = await self._thumbnail(data) if media_type.startswith("image/") else {}
        file = self._add(data, name, media_type, "Document")
        document = {**file.api(), "file_name": name, "mime_type": media_type, **thumbnail}
        self._documents[file.file_id] = document
        return document

    def photo(self, file_id: str) -> list[Json]:
        """Return the sizes of a stored photo."""
        self._check(file_id, "Photo")
        return self._photos[file_id]

    def document(self, file_id: str) -> Json:
        self._check(file_id, "Document")
        return self._documents[file_id]

    def get(self, file_id: str) -> StoredFile | None:
        return self._files.get(file_id)

    def at(self, path: str) -> StoredFile | None:
        """Find a file by its `file_path`."""
        return self._files.get(self._by_path.get(path, ""))

    async def _thumbnail(self, data: bytes) -> Json:
        try:
            sizes = await asyncio.to_thread(photo_sizes, data)
        except BadRequest:
            return {}
        small = sizes[min(1, len(sizes) - 1)]
        return {"thumbnail": self._add_rendition(small, "thumbnail.jpg", "Thumbnail")}

    def _check(self, file_id: str, kind: str) -> None:
        file = self._files.get(file_id)
        if file is None:
            raise BadRequest("wrong file identifier/HTTP URL specified")
        if file.kind != kind:
            raise BadRequest(f"can't use file of type {file.kind} as {kind}")

    def _add_rendition(self, rendition: Rendition, name: str, kind: str) -> Json:
        file = self._add(rendition.data, name, "image/jpeg", kind)
        return {**file.api(), "width": rendition.width, "height": rendition.height}

    def _add(self, data: bytes, name: str, media_type: str, kind: str) -> StoredFile:
        self._count += 1
        token = secrets.token_urlsafe(24)
        prefix = {"Photo": "AgAC", "Document": "BQAC"}.get(kind, "AAMC")
        folder = "documents" if kind == "Document" else "photos"
        path = f"{folder}/file_{self._count}{PurePath(name).suffix}"
        file = StoredFile(
            f"{prefix}{token}", f"AQAD{token[:11]}", path, name, media_type, data, kind
        )
        self._files[file.file_id] = file
        self._by_path[path] = file.file_id
        self._bytes += len(data)
        while self._bytes > self._max_bytes and len(self._files) > 1:
            self._drop_oldest()
        return file

    def _drop_oldest(self) -> None:
        file_id, file = self._files.popitem(last=False)
        self._bytes -= len(file.data)
        self._by_path.pop(file.path, None)
        self._photos.pop(file_id, None)
        self._documents.pop(file_id, None)
