"""Files that passed through the local Telegram: in memory, the oldest dropped beyond a bound.

Photos are recompressed as Telegram does: JPEG in several sizes, without metadata.
"""

import asyncio
import io
import mimetypes
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import Json

_MAX_DOCUMENT_BYTES = 50 * 1024 * 1024
_MAX_PHOTO_BYTES = 10 * 1024 * 1024
_MAX_SIDES = 10_000
_MAX_RATIO = 20
_EDGES = (90, 320, 800, 1280, 2560)


@dataclass(frozen=True)
class StoredFile:
    """`kind` is "photo", "document" or "thumbnail"."""

    file_id: str
    kind: str
    name: str
    media_type: str
    data: bytes

    def api(self) -> Json:
        unique_id = self.file_id[:15]
        size = len(self.data)
        return {"file_id": self.file_id, "file_unique_id": unique_id, "file_size": size}

    @property
    def path(self) -> str:
        """The `file_path` of getFile."""
        return f"{self.kind}s/{self.file_id}{PurePath(self.name).suffix}"


@dataclass(frozen=True)
class _Rendition:
    """One size of a photo, as JPEG."""

    width: int
    height: int
    data: bytes


class FileStore:
    """Photos and documents by file id; `max_bytes` bounds the memory they take."""

    def __init__(self, max_bytes: int) -> None:
        self._files: OrderedDict[str, StoredFile] = OrderedDict()
        self._media: dict[str, Any] = {}
        self._max_bytes = max_bytes
        self._bytes = 0

    async def add_photo(self, data: bytes, *, from_bot: bool = True) -> list[Json]:
        """Store a photo; return its sizes in Bot API form, smallest first."""
        renditions = await asyncio.to_thread(_renditions, data, from_bot=from_bot)
        sizes = [self._add_rendition(r, "photo") for r in renditions]
        self._media |= {size["file_id"]: sizes for size in sizes}
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
        file = self._add("document", name, media_type, data)
        document = {**file.api(), "file_name": name, "mime_type": media_type, **thumbnail}
        self._media[file.file_id] = document
        return document

    def media(self, kind: str, file_id: str) -> Any:
        """Return a stored document, or the sizes of a stored photo, in Bot API form."""
        file = self._files.get(file_id)
        if file is None:
            raise BadRequest("wrong file identifier/HTTP URL specified")
        if file.kind != kind:
            raise BadRequest(f"can't use file of type {file.kind.title()} as {kind.title()}")
        return self._media[file_id]

    def get(self, file_id: str) -> StoredFile | None:
        return self._files.get(file_id)

    async def _thumbnail(self, data: bytes) -> Json:
        try:
            sizes = await asyncio.to_thread(_renditions, data)
        except BadRequest:
            return {}
        return {"thumbnail": self._add_rendition(sizes[:2][-1], "thumbnail")}

    def _add_rendition(self, rendition: _Rendition, kind: str) -> Json:
        file = self._add(kind, f"{kind}.jpg", "image/jpeg", rendition.data)
        return {**file.api(), "width": rendition.width, "height": rendition.height}

    def _add(self, kind: str, name: str, media_type: str, data: bytes) -> StoredFile:
        file = StoredFile(secrets.token_urlsafe(30), kind, name, media_type, data)
        self._files[file.file_id] = file
        self._bytes += len(data)
        while self._bytes > self._max_bytes and len(self._files) > 1:
            file_id, dropped = self._files.popitem(last=False)
            self._media.pop(file_id, None)
            self._bytes -= len(dropped.data)
        return file


def _renditions(data: bytes, *, from_bot: bool = True) -> list[_Rendition]:
    """Return a photo's sizes, smallest first. Raises BadRequest as Telegram does.

    The limits hold for bots: a person's app shrinks a photo before it sends it.
    """
    if from_bot and len(data) > _MAX_PHOTO_BYTES:
        raise BadRequest(
            f"file of size {len(data)} bytes is too big for a photo; "
            f"the maximum size is {_MAX_PHOTO_BYTES} bytes"
        )
    try:
        with Image.open(io.BytesIO(data)) as image:
            long, short = max(image.size), min(image.size)
            if long > _MAX_RATIO * short or (from_bot and long + short > _MAX_SIDES):
                raise BadRequest("PHOTO_INVALID_DIMENSIONS")
            upright = _flatten(ImageOps.exif_transpose(image))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise BadRequest("IMAGE_PROCESS_FAILED") from None
    smaller = [edge for edge in _EDGES if edge < long]
    # The first edge that is not smaller holds the image whole.
    return [_render(upright, edge) for edge in _EDGES[: len(smaller) + 1]]


def _flatten(image: Image.Image) -> Image.Image:
    """Put a transparent image on white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _render(image: Image.Image, edge: int) -> _Rendition:
    scaled = image.copy()
    scaled.thumbnail((edge, edge), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    scaled.save(out, "JPEG", quality=87)
    return _Rendition(scaled.width, scaled.height, out.getvalue())
