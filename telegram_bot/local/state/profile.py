"""What the bot says about itself: commands by scope and language, texts by language."""

from dataclasses import dataclass, field

from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import Json

_MAX_COMMAND_LISTS = 1000
Scope = tuple[str, int, int]
"""Type, chat id and user id of a BotCommandScope."""


@dataclass
class Profile:
    """Commands by scope and language; texts by name ("name", "description", …) and language."""

    commands: dict[tuple[Scope, str], list[Json]] = field(default_factory=dict)
    texts: dict[tuple[str, str], str] = field(default_factory=dict)

    def text(self, name: str, language: str, default: str = "") -> str:
        return self.texts.get((name, language)) or self.texts.get((name, "")) or default

    def set_text(self, name: str, language: str, text: str) -> None:
        if text:
            self.texts[(name, language)] = text
        else:
            self.texts.pop((name, language), None)

    def set_commands(self, scope: Scope, language: str, commands: list[Json]) -> None:
        key = (scope, language)
        if not commands:
            self.commands.pop(key, None)
            return
        if key not in self.commands and len(self.commands) >= _MAX_COMMAND_LISTS:
            raise BadRequest("BOT_COMMANDS_TOO_MUCH")
        self.commands[key] = commands

    def menu(self, user_id: int, chat_id: int, language: str) -> list[Json]:
        """Return a person's commands in this chat: narrowest scope first, then their language."""
        kind = "all_private_chats" if chat_id > 0 else "all_group_chats"
        scopes: list[Scope] = [
            ("chat_member", chat_id, user_id),
            ("chat", chat_id, 0),
            (kind, 0, 0),
            ("default", 0, 0),
        ]
        for scope in scopes:
            for code in (language, ""):
                if commands := self.commands.get((scope, code)):
                    return commands
        return []
