"""Methods by which a bot hears: updates, webhooks, callback answers, files."""

import ipaddress
from typing import Any

import httpx

from telegram_bot.local.bot_api.method import Method
from telegram_bot.local.bot_api.parameters import Params
from telegram_bot.local.errors import BadRequestError
from telegram_bot.local.formatting.entities import Json, utf16_length
from telegram_bot.local.state.callbacks import Answer
from telegram_bot.local.state.files import MAX_DOWNLOAD_BYTES
from telegram_bot.local.state.updates import Webhook, checked_secret
from telegram_bot.local.state.world import World

MAX_POLL_S = 50


def _allow(world: World, params: Params) -> None:
    kinds = params.array("allowed_updates", "allowed updates", "allowed updates")
    world.updates.allow(None if kinds is None else [str(k) for k in kinds])


async def get_updates(world: World, params: Params) -> Any:
    _allow(world, params)
    return await world.updates.get(
        params.integer("offset"),
        max(1, min(100, params.integer("limit", 100))),
        max(0, min(MAX_POLL_S, params.integer("timeout"))),
    )


async def set_webhook(world: World, params: Params) -> Any:
    url = params.text("url")
    if not url:
        return await delete_webhook(world, params)
    secret = checked_secret(params.text("secret_token"))
    _check_webhook_url(url)
    _allow(world, params)
    if params.boolean("drop_pending_updates"):
        world.updates.drop_pending()
    world.updates.end_poll("terminated by setWebhook request")
    world.updates.webhook = Webhook(url, secret, params.integer("max_connections", 40))
    world.updates.changed.set()
    return True


def _check_webhook_url(url: str) -> None:
    """Only loopback: nothing typed here may leave this machine. Plain HTTP is fine there."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        raise BadRequestError("invalid webhook URL specified") from None
    if parts.scheme not in ("http", "https") or not parts.host:
        raise BadRequestError("invalid webhook URL specified")
    try:
        loopback = ipaddress.ip_address(parts.host).is_loopback
    except ValueError:
        loopback = parts.host == "localhost"
    if not loopback:
        raise BadRequestError("bad webhook: the local Telegram delivers to loopback addresses only")


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
        raise BadRequestError("MESSAGE_TOO_LONG")
    answer = Answer(text, params.boolean("show_alert"), params.text("url"))
    world.callbacks.answer(params.text("callback_query_id"), answer)
    return True


async def answer_inline_query(_world: World, _params: Params) -> Any:
    """No inline queries are made here, so none can be answered in time."""
    raise BadRequestError("query is too old and response timeout expired or query ID is invalid")


async def get_file(world: World, params: Params) -> Any:
    if not params.text("file_id"):
        raise BadRequestError("file_id not specified")
    file = world.files.get(params.text("file_id"))
    if file is None:
        raise BadRequestError("wrong file_id or the file is temporarily unavailable")
    if len(file.data) > MAX_DOWNLOAD_BYTES:
        raise BadRequestError("file is too big")
    return {**file.describe(), "file_path": file.path}


METHODS: dict[str, Method] = {
    "getUpdates": get_updates,
    "setWebhook": set_webhook,
    "deleteWebhook": delete_webhook,
    "getWebhookInfo": get_webhook_info,
    "answerCallbackQuery": answer_callback_query,
    "answerInlineQuery": answer_inline_query,
    "getFile": get_file,
}
