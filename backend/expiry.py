"""Pictures and prompts are deleted when their time is over."""

import asyncio
import time

import structlog

from backend.abuse import Abuse
from backend.store import Store

log = structlog.get_logger()

SWEEP_S = 60.0


async def expire(store: Store, abuse: Abuse, ttl_hours: float) -> None:
    """Delete what ended longer ago than `ttl_hours`, until cancelled."""
    while True:
        while rows := await store.over(time.time() - ttl_hours * 3600):
            images = await store.delete(rows)
            log.info("expired", generations=len(rows), images=images)
        await abuse.expire()
        await asyncio.sleep(SWEEP_S)
