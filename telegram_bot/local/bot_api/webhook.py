"""Delivers updates to the bot's webhook, again and again until it takes them."""

import asyncio

import httpx

from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.updates import UpdateQueue, Webhook
from telegram_bot.local.state.world import World

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_TIMEOUT_S = 30.0


async def deliver_forever(world: World, client: httpx.AsyncClient) -> None:
    """One update at a time, in order; a refused one is sent again with growing pauses."""
    updates = world.updates
    pause = _FIRST_PAUSE_S
    while True:
        updates.changed.clear()
        hook, update = updates.webhook, updates.first() if updates.webhook else None
        if hook is None or update is None:
            await updates.changed.wait()
        elif await _delivered(hook, update, client, world):
            updates.delivered(update)
            pause = _FIRST_PAUSE_S
        else:
            pause = await _rest(updates, hook, pause)


async def _rest(updates: UpdateQueue, hook: Webhook, pause: float) -> float:
    """Waits before the next try, less if the webhook is set anew; returns the pause after it."""
    try:
        async with asyncio.timeout(pause):
            while updates.webhook is hook:
                updates.changed.clear()
                await updates.changed.wait()
    except TimeoutError:
        return min(2 * pause, _LONGEST_PAUSE_S)
    return _FIRST_PAUSE_S


async def _delivered(hook: Webhook, update: Json, client: httpx.AsyncClient, world: World) -> bool:
    headers = {"X-Telegram-Bot-Api-Secret-Token": hook.secret} if hook.secret else {}
    try:
        answer = await client.post(hook.url, json=update, headers=headers, timeout=_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
    else:
        if answer.is_success:
            return True
        reason = f"Wrong response from the webhook: {answer.status_code} {answer.reason_phrase}"
    hook.last_error_date = world.now()
    hook.last_error_message = reason
    return False
