"""People, chats and messages, and their Bot API form."""

from collections import OrderedDict
from dataclasses import dataclass, field

from telegram_bot.local.errors import Forbidden
from telegram_bot.local.formatting.entities import Json, utf16_slice

_MAX_MESSAGES_PER_CHAT = 1000


@dataclass
class Person:
    """A user of the local Telegram; `language_code` is the language of their app.

    `started` is set with their first message: a bot may not write to a person before that.
    """

    id: int
    first_name: str
    language_code: str
    username: str = ""
    blocked: bool = False
    started: bool = False

    def api(self) -> Json:
        user: Json = {"id": self.id, "is_bot": False, "first_name": self.first_name}
        if self.username:
            user["username"] = self.username
        return {**user, "language_code": self.language_code}


@dataclass
class Bot:
    """The only bot here; its id is the number in the most recent token."""

    id: int
    first_name: str = "Easel"
    username: str = "easel_local_bot"

    def api(self) -> Json:
        return {
            "id": self.id,
            "is_bot": True,
            "first_name": self.first_name,
            "username": self.username,
        }


@dataclass
class Message:
    """`content` and `markup` are in Bot API form; `sender` None is the bot; times are Unix."""

    message_id: int
    chat: "Chat"
    sender: Person | None
    date: int
    content: Json
    markup: Json | None = None
    reply_to: Json | None = None
    media_group_id: str | None = None
    edit_date: int | None = None
    edits: int = 0
    reactions: list[Json] = field(default_factory=list)

    def api(self, bot: Bot, *, with_reply: bool = True) -> Json:
        """Return the Bot API form; a reply includes one level of the message it answers."""
        sender = bot.api() if self.sender is None else self.sender.api()
        message: Json = {
            "message_id": self.message_id,
            "from": sender,
            "chat": self.chat.api(),
            "date": self.date,
            **self.content,
        }
        if self.edit_date is not None:
            message["edit_date"] = self.edit_date
        if self.media_group_id is not None:
            message["media_group_id"] = self.media_group_id
        if with_reply and self.reply_to is not None:
            message["reply_to_message"] = self.reply_to
        if self.markup is not None and "inline_keyboard" in self.markup:
            message["reply_markup"] = self.markup
        return message

    def addresses(self, bot: Bot) -> bool:
        """Whether the text holds a command for the bot, or mentions it."""
        text = self.content.get("text") or self.content.get("caption") or ""
        handle = f"@{bot.username}".lower()
        entities = self.content.get("entities") or self.content.get("caption_entities") or ()
        for entity in entities:
            word = utf16_slice(text, entity["offset"], entity["length"]).lower()
            if entity["type"] == "mention" and word == handle:
                return True
            if entity["type"] == "bot_command" and ("@" not in word or word.endswith(handle)):
                return True
        return False


@dataclass
class Chat:
    """A private chat (its id is the person's) or a group."""

    id: int
    members: dict[int, Person]
    title: str = ""
    messages: "OrderedDict[int, Message]" = field(default_factory=OrderedDict)

    @property
    def is_private(self) -> bool:
        return self.id > 0

    def api(self) -> Json:
        if not self.is_private:
            return {"id": self.id, "type": "supergroup", "title": self.title}
        person = self.members[self.id].api()
        names = {k: v for k, v in person.items() if k in ("first_name", "username")}
        return {"id": self.id, "type": "private", **names}

    def add(self, message: Message) -> None:
        self.messages[message.message_id] = message
        while len(self.messages) > _MAX_MESSAGES_PER_CHAT:
            self.messages.popitem(last=False)

    def check_writable(self) -> None:
        """Raise `Forbidden` where the person has blocked the bot or never wrote to it."""
        if not self.is_private:
            return
        person = self.members[self.id]
        if person.blocked:
            raise Forbidden
        if not person.started:
            raise Forbidden("bot can't initiate conversation with a user")
