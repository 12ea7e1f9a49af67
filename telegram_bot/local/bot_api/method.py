"""What a method of the Bot API is here."""

from collections.abc import Awaitable, Callable
from typing import Any

from telegram_bot.local.bot_api.parameters import Params
from telegram_bot.local.state.model import Message
from telegram_bot.local.state.world import World

Method = Callable[[World, Params], Awaitable[Any]]
"""Takes the world and the parameters; returns the "result"; raises `ApiError`."""


def shown(world: World, message: Message) -> dict[str, Any]:
    return message.api(world.bot)
