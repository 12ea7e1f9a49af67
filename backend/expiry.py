"""Pictures and prompts are deleted when their time is over."""

import asyncio
import time

import structlog
from obstore.exceptions import BaseError

from backend.limits.quotas import DAY_S
from backend.limits.refusals import Refusals as Abuse
from backend.storage.database import DatabaseAway
from backend.storage.generations import Store

log = structlog.get_logger()

SWEEP_S = 60.0
STRAY_S = 3600.0


async def expire(store: Store, abuse: Abuse, ttl_hours: float) -> None:
    """Delete what ended longer ago than `ttl_hours`, until cancelled."""
    while True:
        try:
            await _sweep(store, time.time(), ttl_hours * 3600)
            await abuse.expire()
        except (DatabaseAway, BaseError) as error:
            log.warning("expiry_failed", error=type(error).__name__)
        await asyncio.sleep(SWEEP_S)


async def _sweep(store: Store, now: float, ttl_s: float) -> None:
    while rows := await store.over(now - ttl_s):
        images = await store.delete(rows)
        log.info("expired", generations=len(rows), images=images)
    await store.forget_spending(now - DAY_S)
    await store.forget_stray_photos(now - STRAY_S)
