"""Delete images and prompts whose time to live is over, and files that no row knows."""

import asyncio
import time

import sqlalchemy as sa
import structlog

from backend.limits.quotas import DAY_S
from backend.limits.refusals import Refusals
from backend.storage.blobs import BLOB_ERRORS
from backend.storage.database import DatabaseAway
from backend.storage.storage import Storage

log = structlog.get_logger()

_SWEEP_S = 60.0
_STRAY_S = 3600.0
"""Age at which a file is removed that no row knows: its request is over by then."""
_STRAY_SWEEP_S = 3600.0
"""Interval between looks at all files, of which there may be very many."""
_JUMP_S = 3600.0
"""A clock that gains this much on the monotonic one is not believed for as long."""


class SteadyClock:
    """Unix time that a clock set ahead for a moment does not carry along.

    Without it, a clock that is ahead by the time to live deletes everything at once. `known` is a
    time at which the database was in use.
    """

    def __init__(self, known: float) -> None:
        self._time = min(known, time.time())
        self._since = time.monotonic()

    def now(self) -> float:
        """Return the time; after a jump ahead the old count goes on for an hour."""
        wall, passed = time.time(), time.monotonic() - self._since
        if wall <= self._time + passed + _JUMP_S or passed >= _JUMP_S:
            self._time, self._since = wall, time.monotonic()
            return wall
        return self._time + passed


async def expire(storage: Storage, refusals: Refusals, ttl_hours: float) -> None:
    """Delete generations `ttl_hours` after their end, until cancelled."""
    clock = SteadyClock(storage.rows.database.last_used)
    strays_due = 0.0
    while True:
        now = clock.now()
        try:
            await _sweep(storage, now, ttl_hours * 3600)
            await refusals.expire(now)
            if time.monotonic() >= strays_due:
                await _remove_strays(storage, now, ttl_hours * 3600)
                strays_due = time.monotonic() + _STRAY_SWEEP_S
        except (DatabaseAway, sa.exc.SQLAlchemyError, *BLOB_ERRORS) as error:
            log.warning("expiry_failed", error=type(error).__name__)
        await asyncio.sleep(_SWEEP_S)


async def _sweep(storage: Storage, now: float, ttl_s: float) -> None:
    await storage.rows.forget_spending(now - DAY_S)
    after = None
    while rows := await storage.rows.ended_before(now - ttl_s, after):
        try:
            images = await storage.delete(rows)
            log.info("expired", generations=len(rows), images=images)
        except BLOB_ERRORS:  # those that remain are tried at the next sweep
            log.warning("expiry_incomplete", generations=len(rows))
        after = rows[-1].ended or 0.0, rows[-1].key
    async for photos in storage.blobs.old("photos", now - _STRAY_S):
        needed = {str(generation_id) for generation_id in await storage.rows.unfinished_ids()}
        for path, generation_id in photos.items():
            if generation_id not in needed:
                await storage.blobs.remove(path)


async def _remove_strays(storage: Storage, now: float, ttl_s: float) -> None:
    """Remove what a killed process left: files half written, and images without a row."""
    removed = await storage.blobs.remove_staged(now - _STRAY_S)
    # Other installations may share an object store; there no image outlives the results either.
    age_s = _STRAY_S if storage.blobs.folder else ttl_s
    async for images in storage.blobs.old("images", now - max(age_s, _STRAY_S)):
        known = await storage.rows.known(set(images.values()))
        for path, generation_id in images.items():
            if generation_id not in known:
                await storage.blobs.remove(path)
                removed += 1
    if removed:
        log.info("strays_removed", files=removed)
