"""What a bot tells about itself: commands and texts per scope and language, menu buttons."""

import re
from dataclasses import dataclass, field

from telegram_bot.local.errors import BadRequestError
from telegram_bot.local.formatting.entities import Json

MAX_SETTINGS = 1000
_COMMAND = re.compile(r"[a-z0-9_]{1,32}")
_LANGUAGE = re.compile(r"([a-z]{2})?")
_SCOPES = (
    "default",
    "all_private_chats",
    "all_group_chats",
    "all_chat_administrators",
    "chat",
    "chat_administrators",
    "chat_member",
)
Scope = tuple[str, int, int]


@dataclass
class Profile:
    """Commands by scope and language; texts by name ("name", "description", …) and language."""

    commands: dict[tuple[Scope, str], list[Json]] = field(default_factory=dict)
    texts: dict[tuple[str, str], str] = field(default_factory=dict)
    menu_buttons: dict[int, Json] = field(default_factory=dict)

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
        if key not in self.commands and len(self.commands) >= MAX_SETTINGS:
            raise BadRequestError("BOT_COMMANDS_TOO_MUCH")
        self.commands[key] = commands

    def commands_seen(self, user_id: int, chat_id: int, language: str) -> list[Json]:
        """What the menu shows this person in this chat: the narrowest scope, then the language."""
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


def read_scope(value: object) -> Scope:
    """A BotCommandScope; None is the default scope."""
    if value is None:
        return ("default", 0, 0)
    if not isinstance(value, dict):
        raise BadRequestError("can't parse BotCommandScope: BotCommandScope must be an Object")
    kind = value.get("type")
    if kind not in _SCOPES:
        raise BadRequestError("can't parse BotCommandScope: BotCommandScope type is invalid")
    try:
        return (str(kind), int(value.get("chat_id") or 0), int(value.get("user_id") or 0))
    except ValueError:
        raise BadRequestError("chat not found") from None


def read_commands(value: object) -> list[Json]:
    if not isinstance(value, list):
        raise BadRequestError("expected an Array of BotCommand")
    if len(value) > 100:
        raise BadRequestError("BOT_COMMANDS_TOO_MUCH")
    return [_command(command) for command in value]


def _command(value: object) -> Json:
    if not isinstance(value, dict):
        raise BadRequestError("can't parse BotCommand: expected an Object")
    name = str(value.get("command", "")).removeprefix("/")
    description = str(value.get("description", "")).strip()
    if not _COMMAND.fullmatch(name):
        raise BadRequestError("BOT_COMMAND_INVALID")
    if not 0 < len(description) <= 256:
        raise BadRequestError("BOT_COMMAND_DESCRIPTION_INVALID")
    return {"command": name, "description": description}


def checked_language(code: str) -> str:
    if not _LANGUAGE.fullmatch(code):
        raise BadRequestError("LANGUAGE_CODE_INVALID")
    return code
