"""How a bot receives updates, by polling or webhook, and files, and answers button presses."""

import asyncio
import re
from typing import Any

import httpx

from telegram_bot.local.bot_api.parameters import Method, Params
from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import Json, utf16_length
from telegram_bot.local.settings import LOOPBACK
from telegram_bot.local.state.model import Answer
from telegram_bot.local.state.updates import UpdateQueue, Webhook
from telegram_bot.local.state.world import World

_MAX_POLL_S = 50
_MAX_DOWNLOAD_BYTES = 20 * 1024 * 1024
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_POST_TIMEOUT_S = 30.0


def _allow(world: World, params: Params) -> None:
    kinds = params.array("allowed_updates", "allowed updates", "allowed updates")
    if kinds is not None:
        world.updates.allowed = sorted({str(kind) for kind in kinds})


async def get_updates(world: World, params: Params) -> Any:
    _allow(world, params)
    return await world.updates.get(
        params.integer("offset"),
        max(1, min(100, params.integer("limit", 100))),
        max(0, min(_MAX_POLL_S, params.integer("timeout"))),
    )


async def set_webhook(world: World, params: Params) -> Any:
    url = params.text("url")
    if not url:
        return await delete_webhook(world, params)
    _check_webhook_url(url)
    secret = params.text("secret_token")
    if len(secret) > 256:
        raise BadRequest("secret token is too long")
    if not re.fullmatch(r"[A-Za-z0-9_-]*", secret):
        raise BadRequest("secret token contains unallowed characters")
    _allow(world, params)
    if params.boolean("drop_pending_updates"):
        world.updates.pending.clear()
    world.updates.end_poll("terminated by setWebhook request")
    world.updates.webhook = Webhook(url, secret)
    world.updates.changed.set()
    return True


def _check_webhook_url(url: str) -> None:
    """Accept loopback only, where plain HTTP is fine: no update may leave this machine."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        raise BadRequest("invalid webhook URL specified") from None
    if parts.scheme not in ("http", "https"):
        raise BadRequest("invalid webhook URL specified")
    if parts.host not in LOOPBACK:
        raise BadRequest("bad webhook: the local Telegram delivers to loopback addresses only")


async def delete_webhook(world: World, params: Params) -> Any:
    if params.boolean("drop_pending_updates"):
        world.updates.pending.clear()
    world.updates.webhook = None
    world.updates.changed.set()
    return True


async def get_webhook_info(world: World, _params: Params) -> Any:
    hook = world.updates.webhook
    info: Json = {
        "url": hook.url if hook else "",
        "has_custom_certificate": False,
        "pending_update_count": len(world.updates.pending),
    }
    if world.updates.allowed:
        info["allowed_updates"] = world.updates.allowed
    if hook and hook.last_error_date:
        info["last_error_date"] = hook.last_error_date
        info["last_error_message"] = hook.last_error_message
    return info


async def answer_callback_query(world: World, params: Params) -> Any:
    text = params.text("text")
    if utf16_length(text) > 200:
        raise BadRequest("MESSAGE_TOO_LONG")
    answer = Answer(text, params.boolean("show_alert"), params.text("url"))
    world.answer(params.text("callback_query_id"), answer)
    return True


async def get_file(world: World, params: Params) -> Any:
    if not params.text("file_id"):
        raise BadRequest("file_id not specified")
    file = world.files.get(params.text("file_id"))
    if file is None:
        raise BadRequest("wrong file_id or the file is temporarily unavailable")
    if len(file.data) > _MAX_DOWNLOAD_BYTES:
        raise BadRequest("file is too big")
    return {**file.api(), "file_path": file.path}


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
        answer = await client.post(hook.url, json=update, headers=headers, timeout=_POST_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
    else:
        if answer.is_success:
            return True
        reason = f"Wrong response from the webhook: {answer.status_code} {answer.reason_phrase}"
    hook.last_error_date = world.now()
    hook.last_error_message = reason
    return False


METHODS: dict[str, Method] = {
    "getUpdates": get_updates,
    "setWebhook": set_webhook,
    "deleteWebhook": delete_webhook,
    "getWebhookInfo": get_webhook_info,
    "answerCallbackQuery": answer_callback_query,
    "getFile": get_file,
}
