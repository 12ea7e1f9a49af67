"""Tell whether a message in a group is for the bot: a mention, a reply or a command."""

import re

from telegram import Bot, Chat, Message


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
