"""Tell the backend that nobody waits for a generation, until it has heard."""

import asyncio
import time
from uuid import UUID

from backend.client import BackendClient
from telegram_bot.generating.tracked import TrackedGeneration
from telegram_bot.storage.deliveries import DAY_S, Deliveries, State
from web.errors import EaselError, NotFound

_STOP_RETRY_S = 0.25
_REVOKE_RETRY_S = 1.0
_MAX_RETRY_S = 60.0
_REVOKE_TIMEOUT_S = DAY_S
"""How long to try to tell the backend, which may be away."""


async def stop(backend: BackendClient, tracked: TrackedGeneration) -> None:
    """Cancel a tracked generation at the backend, but never delete one that has just finished."""
    while not tracked.ended:
        try:
            if not (await backend.get(tracked.id)).status.ended:
                await backend.delete(tracked.id)
        except EaselError:  # not there yet, or the backend is away
            await asyncio.sleep(_STOP_RETRY_S)
        else:
            return


async def revoke(backend: BackendClient, deliveries: Deliveries, generation: UUID) -> None:
    """Cancel or delete a generation that nobody follows, as soon as the backend answers."""
    deadline, pause = time.monotonic() + _REVOKE_TIMEOUT_S, _REVOKE_RETRY_S
    while time.monotonic() < deadline:
        try:
            if (await backend.get(generation)).status not in ("failed", "cancelled"):
                await backend.delete(generation)
        except NotFound:
            break
        except EaselError:
            await asyncio.sleep(pause)
            pause = min(_MAX_RETRY_S, pause * 1.5)
        else:
            break
    deliveries.set_state(generation, State.cancelled)
