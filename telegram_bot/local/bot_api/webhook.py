"""Deliver updates to the bot's webhook, repeating each until the bot takes it."""

import asyncio

import httpx

from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.updates import UpdateQueue, Webhook
from telegram_bot.local.state.world import World

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_TIMEOUT_S = 30.0


async def deliver_forever(world: World, client: httpx.AsyncClient) -> None:
    """Deliver one update at a time, in order, with growing pauses after failures."""
    updates = world.updates
    pause = _FIRST_PAUSE_S
    while True:
        updates.changed.clear()
        hook, update = updates.webhook, updates.first() if updates.webhook else None
        if hook is None or update is None:
            await updates.changed.wait()
        elif await _deliver(hook, update, client, world):
            updates.confirm_first(update)
            pause = _FIRST_PAUSE_S
        else:
            pause = await _rest(updates, hook, pause)


async def _rest(updates: UpdateQueue, hook: Webhook, pause: float) -> float:
    """Wait before the next attempt, or until the webhook is replaced; return the next pause."""
    try:
        async with asyncio.timeout(pause):
            while updates.webhook is hook:
                updates.changed.clear()
                await updates.changed.wait()
    except TimeoutError:
        return min(2 * pause, _LONGEST_PAUSE_S)
    return _FIRST_PAUSE_S


async def _deliver(hook: Webhook, update: Json, client: httpx.AsyncClient, world: World) -> bool:
    """Post the update; return whether the bot took it."""
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
