"""The methods of the Bot API, by name."""

from telegram_bot.local.methods import editing, profile, receiving, sending
from telegram_bot.local.methods.method import Method

METHODS: dict[str, Method] = {
    **sending.METHODS,
    **editing.METHODS,
    **receiving.METHODS,
    **profile.METHODS,
}
BY_LOWER_NAME = {name.lower(): (name, method) for name, method in METHODS.items()}
