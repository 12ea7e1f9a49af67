"""Methods through which a bot receives updates and files, and answers button presses."""

import ipaddress
from typing import Any

import httpx

from telegram_bot.local.bot_api.parameters import Method, Params
from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import Json, utf16_length
from telegram_bot.local.state.callbacks import Answer
from telegram_bot.local.state.updates import Webhook
from telegram_bot.local.state.world import World

_MAX_POLL_S = 50
_MAX_DOWNLOAD_BYTES = 20 * 1024 * 1024


def _allow(world: World, params: Params) -> None:
    kinds = params.array("allowed_updates", "allowed updates", "allowed updates")
    world.updates.allow(None if kinds is None else [str(k) for k in kinds])


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
    secret = params.text("secret_token")
    _check_secret(secret)
    _check_webhook_url(url)
    _allow(world, params)
    if params.boolean("drop_pending_updates"):
        world.updates.drop_pending()
    world.updates.end_poll("terminated by setWebhook request")
    world.updates.webhook = Webhook(url, secret, params.integer("max_connections", 40))
    world.updates.changed.set()
    return True


def _check_secret(secret: str) -> None:
    if len(secret) > 256:
        raise BadRequest("secret token is too long")
    if not all(c.isascii() and (c.isalnum() or c in "-_") for c in secret):
        raise BadRequest("secret token contains unallowed characters")


def _check_webhook_url(url: str) -> None:
    """Accept loopback only, where plain HTTP is fine: no update may leave this machine."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        raise BadRequest("invalid webhook URL specified") from None
    if parts.scheme not in ("http", "https") or not parts.host:
        raise BadRequest("invalid webhook URL specified")
    try:
        loopback = ipaddress.ip_address(parts.host).is_loopback
    except ValueError:
        loopback = parts.host == "localhost"
    if not loopback:
        raise BadRequest("bad webhook: the local Telegram delivers to loopback addresses only")


async def delete_webhook(world: World, params: Params) -> Any:
    if params.boolean("drop_pending_updates"):
        world.updates.drop_pending()
    world.updates.webhook = None
    world.updates.changed.set()
    return True


async def get_webhook_info(world: World, _params: Params) -> Any:
    hook = world.updates.webhook
    info: Json = {
        "url": hook.url if hook else "",
        "has_custom_certificate": False,
        "pending_update_count": world.updates.pending_count,
    }
    if world.updates.allowed:
        info["allowed_updates"] = world.updates.allowed
    if hook:
        info |= {"max_connections": hook.max_connections, "ip_address": "127.0.0.1"}
        if hook.last_error_date:
            info["last_error_date"] = hook.last_error_date
            info["last_error_message"] = hook.last_error_message
    return info


async def answer_callback_query(world: World, params: Params) -> Any:
    text = params.text("text")
    if utf16_length(text) > 200:
        raise BadRequest("MESSAGE_TOO_LONG")
    answer = Answer(text, params.boolean("show_alert"), params.text("url"))
    world.callbacks.answer(params.text("callback_query_id"), answer)
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


METHODS: dict[str, Method] = {
    "getUpdates": get_updates,
    "setWebhook": set_webhook,
    "deleteWebhook": delete_webhook,
    "getWebhookInfo": get_webhook_info,
    "answerCallbackQuery": answer_callback_query,
    "getFile": get_file,
}
