"""The bot, people, chats and messages, and their Bot API form."""

import asyncio
import re
from collections import OrderedDict
from dataclasses import dataclass, field

from telegram_bot.local.errors import ApiError, BadRequest, Forbidden
from telegram_bot.local.formatting.entities import Json, utf16_slice

_MAX_MESSAGES_PER_CHAT = 1000
_MAX_PEOPLE = 2000
_GROUP_ID = -1001700000001
_NUMBER = re.compile(r"-?[0-9]{1,18}")
Scope = tuple[str, int, int]
"""Type, chat id and user id of a BotCommandScope."""


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
    """The only bot here; its id is the number in the most recent token.

    It keeps commands by scope and language, and texts by name ("description", …) and language.
    """

    id: int
    first_name: str = "Easel"
    username: str = "easel_local_bot"
    commands: dict[tuple[Scope, str], list[Json]] = field(default_factory=dict)
    texts: dict[tuple[str, str], str] = field(default_factory=dict)

    def api(self) -> Json:
        names = {"first_name": self.first_name, "username": self.username}
        return {"id": self.id, "is_bot": True, **names}

    def text(self, name: str, language: str) -> str:
        default = self.first_name if name == "name" else ""
        return self.texts.get((name, language)) or self.texts.get((name, "")) or default

    def menu(self, user_id: int, chat_id: int, language: str) -> list[Json]:
        """Return a person's commands in this chat: narrowest scope first, then their language."""
        kind = "all_private_chats" if chat_id > 0 else "all_group_chats"
        scopes = (
            ("chat_member", chat_id, user_id),
            ("chat", chat_id, 0),
            (kind, 0, 0),
            ("default", 0, 0),
        )
        for scope in scopes:
            for code in (language, ""):
                if commands := self.commands.get((scope, code)):
                    return commands
        return []


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
        if self.buttons:
            message["reply_markup"] = self.markup
        return message

    @property
    def buttons(self) -> list[list[Json]]:
        """The rows of the inline keyboard."""
        rows: list[list[Json]] = (self.markup or {}).get("inline_keyboard", [])
        return rows

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


@dataclass(frozen=True)
class Answer:
    """What the person sees: a toast or, with `show_alert`, a dialog to close; a URL to open."""

    text: str
    show_alert: bool
    url: str


@dataclass(frozen=True)
class Press:
    """A button press that waits for the bot's answer."""

    query_id: str
    pressed_at: float
    answered: asyncio.Future[Answer]


class Directory:
    """Two people and their group to begin with; a new user id introduces a new person."""

    def __init__(self) -> None:
        alex = Person(1001, "Alex", "en", "alex_local")
        masha = Person(1002, "Маша", "ru", "masha_local")
        self.people: dict[int, Person] = {p.id: p for p in (alex, masha)}
        self.chats: dict[int, Chat] = {p.id: Chat(p.id, {p.id: p}) for p in (alex, masha)}
        self.chats[_GROUP_ID] = Chat(_GROUP_ID, dict(self.people), "Easel group")

    def person(self, user_id: int) -> Person:
        """Return this person, created if new. Raises ApiError for an impossible id."""
        if person := self.people.get(user_id):
            return person
        if not 0 < user_id < 2**52:
            raise ApiError(422, "user_id must be a positive number")
        if len(self.people) >= _MAX_PEOPLE:
            raise ApiError(409, f"at most {_MAX_PEOPLE} people fit here")
        person = self.people[user_id] = Person(user_id, f"User {user_id}", "en")
        self.chats[user_id] = Chat(user_id, {user_id: person})
        return person

    def chats_of(self, person: Person) -> list[Chat]:
        return [chat for chat in self.chats.values() if person.id in chat.members]

    def chat_of(self, person: Person, chat_id: int | None) -> Chat:
        """Return a chat of this person, by default the private one. Raises ApiError 404."""
        chat = self.chats.get(person.id if chat_id is None else chat_id)
        if chat is None or person.id not in chat.members:
            known = ", ".join(str(c.id) for c in self.chats_of(person))
            raise ApiError(404, f"user {person.id} is in no chat {chat_id}; in these: {known}")
        return chat

    def chat_for_bot(self, chat_id: str) -> Chat:
        """Return the chat of a Bot API call. Raises BadRequest as Telegram does."""
        if not chat_id:
            raise BadRequest("chat_id is empty")
        chat = self.chats.get(int(chat_id)) if _NUMBER.fullmatch(chat_id) else None
        if chat is None:
            raise BadRequest("chat not found")
        return chat
