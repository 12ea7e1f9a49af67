"""Delete images and prompts whose time to live is over."""

import asyncio
import time

import structlog
from obstore.exceptions import BaseError

from backend.limits.quotas import DAY_S
from backend.limits.refusals import Refusals
from backend.storage.database import DatabaseAway
from backend.storage.storage import Storage

log = structlog.get_logger()

_SWEEP_S = 60.0
_STRAY_PHOTO_S = 3600.0
"""Age at which a photo is removed whose generation was never committed or has ended."""


async def expire(storage: Storage, refusals: Refusals, ttl_hours: float) -> None:
    """Delete generations `ttl_hours` after their end, until cancelled."""
    while True:
        try:
            await _sweep(storage, time.time(), ttl_hours * 3600)
            await refusals.expire()
        except (DatabaseAway, BaseError) as error:
            log.warning("expiry_failed", error=type(error).__name__)
        await asyncio.sleep(_SWEEP_S)


async def _sweep(storage: Storage, now: float, ttl_s: float) -> None:
    while rows := await storage.rows.ended_before(now - ttl_s):
        images = await storage.delete(rows)
        log.info("expired", generations=len(rows), images=images)
    await storage.rows.forget_spending(now - DAY_S)
    async for photos in storage.blobs.old_photos(now - _STRAY_PHOTO_S):
        needed = {str(generation_id) for generation_id in await storage.rows.unfinished_ids()}
        for path, generation_id in photos.items():
            if generation_id not in needed:
                await storage.blobs.remove(path)
