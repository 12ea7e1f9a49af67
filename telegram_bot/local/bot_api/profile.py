"""Methods about the bot itself: identity, commands, name and descriptions."""

import re
from typing import Any

from telegram_bot.local.bot_api.parameters import Method, Params
from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import Json, utf16_length
from telegram_bot.local.state.model import Scope
from telegram_bot.local.state.world import World

_COMMAND = re.compile(r"[a-z0-9_]{1,32}")
_LANGUAGE = re.compile(r"([a-z]{2})?")
_SCOPES = (
    *("default", "all_private_chats", "all_group_chats", "all_chat_administrators"),
    *("chat", "chat_administrators", "chat_member"),
)


async def get_me(world: World, _params: Params) -> Any:
    return {
        **world.bot.api(),
        "can_join_groups": True,
        "can_read_all_group_messages": False,
        "supports_inline_queries": False,
        "can_connect_to_business": False,
        "has_main_web_app": False,
    }


async def set_my_commands(world: World, params: Params) -> Any:
    commands = params.array("commands", "commands", "BotCommand")
    if commands is None:
        raise BadRequest("expected an Array of BotCommand")
    if len(commands) > 100:
        raise BadRequest("BOT_COMMANDS_TOO_MUCH")
    world.bot.commands[_scope(params), _language(params)] = [_command(c) for c in commands]
    world.feed.publish("commands")
    return True


async def get_my_commands(world: World, params: Params) -> Any:
    return world.bot.commands.get((_scope(params), _language(params)), [])


async def delete_my_commands(world: World, params: Params) -> Any:
    world.bot.commands.pop((_scope(params), _language(params)), None)
    world.feed.publish("commands")
    return True


def _command(value: object) -> Json:
    if not isinstance(value, dict):
        raise BadRequest("can't parse BotCommand: expected an Object")
    name = str(value.get("command", "")).removeprefix("/")
    description = str(value.get("description", "")).strip()
    if not _COMMAND.fullmatch(name):
        raise BadRequest("BOT_COMMAND_INVALID")
    if not 0 < len(description) <= 256:
        raise BadRequest("BOT_COMMAND_DESCRIPTION_INVALID")
    return {"command": name, "description": description}


def _scope(params: Params) -> Scope:
    value = params.json("scope", "BotCommandScope")
    if value is None:
        return ("default", 0, 0)
    if not isinstance(value, dict):
        raise BadRequest("can't parse BotCommandScope: BotCommandScope must be an Object")
    kind = value.get("type")
    if kind not in _SCOPES:
        raise BadRequest("can't parse BotCommandScope: BotCommandScope type is invalid")
    try:
        return (str(kind), int(value.get("chat_id") or 0), int(value.get("user_id") or 0))
    except (TypeError, ValueError):
        raise BadRequest("chat not found") from None


def _language(params: Params) -> str:
    code = params.text("language_code")
    if not _LANGUAGE.fullmatch(code):
        raise BadRequest("LANGUAGE_CODE_INVALID")
    return code


def _text_methods(name: str, title: str, limit: int) -> dict[str, Method]:
    """Return the setter and the getter of one text, kept per language."""

    async def set_text(world: World, params: Params) -> Any:
        text = params.text(name)
        if utf16_length(text) > limit:
            raise BadRequest(f"BOT_{name.upper()}_INVALID")
        world.bot.texts[name, _language(params)] = text
        world.feed.publish("commands")
        return True

    async def get_text(world: World, params: Params) -> Any:
        return {name: world.bot.text(name, _language(params))}

    return {f"setMy{title}": set_text, f"getMy{title}": get_text}


METHODS: dict[str, Method] = {
    "getMe": get_me,
    "setMyCommands": set_my_commands,
    "getMyCommands": get_my_commands,
    "deleteMyCommands": delete_my_commands,
    **_text_methods("name", "Name", 64),
    **_text_methods("description", "Description", 512),
    **_text_methods("short_description", "ShortDescription", 120),
}
