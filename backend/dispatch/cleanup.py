"""What is left to do once an outcome is committed; the sweep does what fails here."""

from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from backend.limits.refusals import Refusals
from backend.storage.blobs import BLOB_ERRORS
from backend.storage.database import DatabaseAway
from backend.storage.generations import GenerationRow
from backend.storage.storage import Storage
from web import errors

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Cleanup:
    storage: Storage
    refusals: Refusals

    async def after(self, row: GenerationRow, *, was_deleted: bool) -> None:
        """Count a refused image against the user; remove the files that are no longer needed."""
        try:
            await self._note_refusal(row)
            if was_deleted:
                await self.storage.delete([row])
            elif row.has_photo:
                await self.storage.blobs.remove_photo(row)
        except (DatabaseAway, sa.exc.SQLAlchemyError, *BLOB_ERRORS) as error:
            log.warning("cleanup_deferred", error=type(error).__name__)

    async def _note_refusal(self, row: GenerationRow) -> None:
        error = row.outcome.failure if row.outcome else None
        if isinstance(error, errors.ContentRefused) and error.category != errors.UNCHECKED:
            await self.refusals.note(row.owner, row.user, error.category or "picture")
