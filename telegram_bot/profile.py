"""Publish the bot's commands and descriptions at Telegram, in each language."""

import structlog
from telegram import BotCommand, BotCommandScopeChat
from telegram.error import TelegramError

from telegram_bot.context import Easel
from telegram_bot.flows.admin import COMMANDS as ADMIN_COMMANDS
from telegram_bot.texts import DEFAULT, Texts

COMMANDS = ("start", "draw", "restyle", "history", "settings", "privacy", "cancel", "help")
log = structlog.get_logger("telegram_bot.profile")


async def publish(easel: Easel) -> None:
    """Publish everything; the bot works without it, so an error of Telegram is only logged."""
    try:
        bot = easel.editor.bot
        for code, texts in easel.languages.by_code.items():
            language = None if code == DEFAULT else code
            await bot.set_my_commands(_commands(texts, COMMANDS), language_code=language)
            await bot.set_my_description(texts.plain("profile.description"), language)
            await bot.set_my_short_description(texts.plain("profile.short"), language)
        for admin in easel.settings.bot_admins:
            await _publish_for_admin(easel, admin)
    except TelegramError as error:
        log.warning("profile_publish_failed", reason=error.message)


async def _publish_for_admin(easel: Easel, admin: int) -> None:
    texts = easel.languages.of(easel.people.get(admin).language)
    commands = _commands(texts, (*COMMANDS, *ADMIN_COMMANDS))
    try:
        await easel.editor.bot.set_my_commands(commands, BotCommandScopeChat(admin))
    except TelegramError as error:
        log.info("admin_commands_skipped", reason=error.message)


def _commands(texts: Texts, names: tuple[str, ...]) -> list[BotCommand]:
    return [BotCommand(name, texts.plain(f"command.{name}")) for name in names]
