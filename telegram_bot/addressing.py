"""Tell whether a message in a group is for the bot: a mention, a reply or a command."""

import re

from telegram import Bot, Chat, Message

_COMMAND = re.compile(r"/(?P<name>\w+)(?:@(?P<bot>\w+))?(?:\s+|$)")
_WITH_PHOTO = ("restyle", "draw")
"""Commands that may be a photo's caption: Telegram hands captions over like any other text."""


def argument(message: Message) -> str:
    """Return what stands after the command of a text or caption, however they are separated."""
    _, *rest = (message.text or message.caption or "").split(maxsplit=1) or [""]
    return rest[0].strip() if rest else ""


def caption_for_bot(message: Message, bot: Bot) -> str | None:
    """Return the words for a photo: a caption, or what follows a command in it."""
    command = _COMMAND.match(message.caption or "")
    if command is None:
        return text_for_bot(message, bot)
    name, addressee = command["name"].lower(), (command["bot"] or "").lower()
    ours = addressee in ("", bot.username.lower())
    return argument(message) if ours and name in _WITH_PHOTO else None


def text_for_bot(message: Message, bot: Bot) -> str | None:
    """Return the text for the bot, without the mention; None if it is not addressed."""
    text = message.text or message.caption or ""
    if message.chat.type == Chat.PRIVATE:
        return text
    pattern = rf"(?i)(?<!\w)@{re.escape(bot.username)}\b"
    if re.search(pattern, text):
        return re.sub(pattern, "", text).strip()
    replied = message.reply_to_message
    if replied and replied.from_user and replied.from_user.id == bot.id:
        return text
    return None
