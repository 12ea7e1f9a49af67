"""The rows and the blobs together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from backend.storage.blobs import BlobStore
from backend.storage.database import Database
from backend.storage.generations import GenerationRow, GenerationStore


@dataclass(frozen=True, kw_only=True)
class Storage:
    rows: GenerationStore
    blobs: BlobStore

    @classmethod
    async def open(cls, database: Database, images_url: str) -> Self:
        """Open the tables and the object store, creating them where necessary."""
        await database.open()
        return cls(rows=GenerationStore(database), blobs=BlobStore(images_url))

    async def delete(self, rows: Sequence[GenerationRow]) -> int:
        """Delete generations with their files. Return the number of images they had."""
        for row in rows:
            await self.blobs.remove_all(row)
        await self.rows.delete([row.id for row in rows])
        return sum(len(row.outcome.images) for row in rows if row.outcome)
