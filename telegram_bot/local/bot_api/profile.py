"""Methods about the bot itself and about chats."""

from typing import Any

from telegram_bot.local.bot_api.method import Method
from telegram_bot.local.bot_api.parameters import Params
from telegram_bot.local.errors import BadRequestError
from telegram_bot.local.formatting.entities import Json, utf16_length
from telegram_bot.local.state.profile import checked_language, read_commands, read_scope
from telegram_bot.local.state.world import World

_TEXTS = {"name": ("Name", 64), "description": ("Description", 512)} | {
    "short_description": ("ShortDescription", 120)
}


async def get_me(world: World, _params: Params) -> Any:
    return {
        **world.bot.api(),
        "can_join_groups": True,
        "can_read_all_group_messages": False,
        "supports_inline_queries": False,
        "can_connect_to_business": False,
        "has_main_web_app": False,
    }


async def accept(_world: World, _params: Params) -> Any:
    """logOut and close: there is no other server to move to."""
    return True


def _where(params: Params) -> tuple[tuple[str, int, int], str]:
    scope = read_scope(params.json("scope", "BotCommandScope"))
    return scope, checked_language(params.text("language_code"))


async def set_my_commands(world: World, params: Params) -> Any:
    commands = read_commands(params.json("commands", "commands"))
    world.profile.set_commands(*_where(params), commands)
    world.feed.tell("commands")
    return True


async def get_my_commands(world: World, params: Params) -> Any:
    return world.profile.commands.get(_where(params), [])


async def delete_my_commands(world: World, params: Params) -> Any:
    world.profile.set_commands(*_where(params), [])
    world.feed.tell("commands")
    return True


def _text_methods(name: str) -> dict[str, Method]:
    title, limit = _TEXTS[name]

    async def set_text(world: World, params: Params) -> Any:
        text = params.text(name)
        if utf16_length(text) > limit:
            raise BadRequestError(f"BOT_{name.upper()}_INVALID")
        world.profile.set_text(name, checked_language(params.text("language_code")), text)
        world.feed.tell("commands")
        return True

    async def get_text(world: World, params: Params) -> Any:
        language = checked_language(params.text("language_code"))
        default = world.bot.first_name if name == "name" else ""
        return {name: world.profile.text(name, language, default)}

    return {f"setMy{title}": set_text, f"getMy{title}": get_text}


async def set_chat_menu_button(world: World, params: Params) -> Any:
    button = params.json("menu_button", "menu button") or {"type": "default"}
    if not isinstance(button, dict) or button.get("type") not in ("default", "commands", "web_app"):
        raise BadRequestError("can't parse menu button: MenuButton has unsupported type")
    chat_id = params.integer("chat_id")
    if chat_id:
        world.chat_for_bot(str(chat_id))
    world.profile.menu_buttons[chat_id] = button
    return True


async def get_chat_menu_button(world: World, params: Params) -> Any:
    buttons = world.profile.menu_buttons
    chosen = buttons.get(params.integer("chat_id")) or buttons.get(0)
    return {"type": "commands"} if chosen in (None, {"type": "default"}) else chosen


async def get_chat(world: World, params: Params) -> Any:
    chat = world.chat_for_bot(params.text("chat_id"))
    details: Json = {
        "accent_color_id": abs(chat.id) % 7,
        "max_reaction_count": 11,
        "accepted_gift_types": {
            "unlimited_gifts": False,
            "limited_gifts": False,
            "unique_gifts": False,
            "premium_subscription": False,
            "gifts_from_channels": False,
        },
    }
    return {**chat.api(), **details}


async def get_chat_member(world: World, params: Params) -> Any:
    chat = world.chat_for_bot(params.text("chat_id"))
    user_id = params.integer("user_id")
    if user_id == world.bot.id:
        return {"user": world.bot.api(), "status": "member"}
    if user_id not in chat.members:
        raise BadRequestError("member not found")
    return {"user": chat.members[user_id].api(), "status": "member"}


METHODS: dict[str, Method] = {
    "getMe": get_me,
    "logOut": accept,
    "close": accept,
    "setMyCommands": set_my_commands,
    "getMyCommands": get_my_commands,
    "deleteMyCommands": delete_my_commands,
    **_text_methods("name"),
    **_text_methods("description"),
    **_text_methods("short_description"),
    "setChatMenuButton": set_chat_menu_button,
    "getChatMenuButton": get_chat_menu_button,
    "getChat": get_chat,
    "getChatMember": get_chat_member,
}
