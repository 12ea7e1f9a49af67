"""What Telegram shows of the bot: its commands and descriptions, in each language."""

import structlog
from telegram import BotCommand, BotCommandScopeChat
from telegram.error import TelegramError

from telegram_bot.context import Easel
from telegram_bot.flows.admin import COMMANDS as ADMIN
from telegram_bot.texts import DEFAULT, Language

COMMANDS = ("start", "draw", "restyle", "history", "settings", "privacy", "cancel", "help")
_log = structlog.get_logger("telegram_bot.profile")


async def publish(easel: Easel) -> None:
    """Tell Telegram; without it the bot works all the same."""
    try:
        for code, say in easel.texts.languages.items():
            await _publish(easel, say, None if code == DEFAULT else code)
        for admin in easel.settings.bot_admins:
            await _publish_for_admin(easel, admin)
    except TelegramError as error:
        _log.warning("profile_not_published", reason=error.message)


async def _publish(easel: Easel, say: Language, code: str | None) -> None:
    bot = easel.editor.bot
    await bot.set_my_commands(_commands(say, COMMANDS), language_code=code)
    await bot.set_my_description(say.plain("profile.description"), code)
    await bot.set_my_short_description(say.plain("profile.short"), code)


async def _publish_for_admin(easel: Easel, admin: int) -> None:
    say = easel.texts.language(easel.people.get(admin).language)
    commands = _commands(say, (*COMMANDS, *ADMIN))
    try:
        await easel.editor.bot.set_my_commands(commands, BotCommandScopeChat(admin))
    except TelegramError as error:
        _log.info("admin_has_not_started_the_bot", reason=error.message)


def _commands(say: Language, names: tuple[str, ...]) -> list[BotCommand]:
    return [BotCommand(name, say.plain(f"command.{name}")) for name in names]
