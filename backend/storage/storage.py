"""The rows and the blobs together."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import structlog

from backend.storage import database
from backend.storage.blobs import BLOB_ERRORS, BlobStore
from backend.storage.database import Database
from backend.storage.generations import GenerationRow, GenerationStore, Outcome
from web.errors import EaselError

log = structlog.get_logger()


def prepare(database_url: str, images_url: str) -> float | None:
    """Make what is missing and check that all can be used; as `database.prepare`."""
    last_written = database.prepare(database_url)
    try:
        BlobStore(images_url)
    except OSError as error:
        text = f"the folder of images, {error.filename}, cannot be made: {error.strerror}"
        raise database.DatabaseRefused(text) from error
    return last_written


class ImageDamaged(EaselError, code="internal", status=500):
    title = "The image is damaged"


@dataclass(frozen=True, kw_only=True)
class Storage:
    rows: GenerationStore
    blobs: BlobStore

    @classmethod
    async def open(cls, opened: Database, images_url: str, *, tells_operator: bool = False) -> Self:
        """Open the tables and the object store, creating them where necessary."""
        await opened.open()
        rows = GenerationStore(opened, tells_operator=tells_operator)
        return cls(rows=rows, blobs=BlobStore(images_url))

    async def image(self, row: GenerationRow, number: int) -> bytes | None:
        """Return an image as it was stored. Raises ImageDamaged if it is no longer so."""
        if row.outcome is None or not 0 <= number < len(row.outcome.images):
            return None
        data = await self.blobs.image(row.id, number)
        if data is None or _is_whole(row.outcome, number, data):
            return data
        log.error("image_damaged", generation_id=str(row.id), number=number)
        raise ImageDamaged(
            f"Image {number} of this generation was damaged while the server kept it, so it is not "
            "given out. Ask for the picture again, with the same seed"
        )

    async def delete(self, rows: Sequence[GenerationRow]) -> int:
        """Delete generations with their files. Return the number of images they had.

        One whose files cannot be deleted keeps its row, to be tried again; the others go. Then
        raises BlobsAway.
        """
        gone: list[GenerationRow] = []
        failure: Exception | None = None
        for row in rows:
            try:
                await self.blobs.remove_all(row)
                gone.append(row)
            except BLOB_ERRORS as error:
                failure = error
        await self.rows.delete(gone)
        if failure is not None:
            raise failure
        return sum(len(row.outcome.images) for row in gone if row.outcome)


def _is_whole(outcome: Outcome, number: int, data: bytes) -> bool:
    if number < len(outcome.digests):
        return hashlib.sha256(data).hexdigest() == outcome.digests[number]
    return len(data) == outcome.images[number].bytes
