"""The state of the local Telegram: one bot, the people and the chats, all bounded."""

import re
import time
from collections import deque

from telegram_bot.local.errors import ApiError, BadRequestError, ForbiddenError
from telegram_bot.local.formatting.entities import Json, utf16_slice
from telegram_bot.local.state.callbacks import Callbacks, Press
from telegram_bot.local.state.faults import PRESS, Faults, FloodLimits
from telegram_bot.local.state.feed import Feed
from telegram_bot.local.state.files import FileStore
from telegram_bot.local.state.model import Bot, Chat, Message, Person
from telegram_bot.local.state.profile import Profile
from telegram_bot.local.state.updates import UpdateQueue
from telegram_bot.local.state.views import message_view

GROUP_ID = -1001700000001
MAX_PEOPLE = 2000
MAX_CALLS = 300
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_EPOCH = 1_700_000_000  # ids go on rising over a restart: bots remember message ids


class World:
    """Everything that happens goes through here: it numbers, stores, queues updates and tells."""

    def __init__(
        self, *, max_file_bytes: int, query_lifetime_s: float = 30, flood_limits: bool = False
    ) -> None:
        first_id = int((time.time() - _EPOCH) * 10)
        self._next_message_id = first_id
        self.bot = Bot(7000000001)
        alex = Person(1001, "Alex", "en", "alex_local")
        masha = Person(1002, "Маша", "ru", "masha_local")
        self.people: dict[int, Person] = {p.id: p for p in (alex, masha)}
        self.chats: dict[int, Chat] = {p.id: Chat(p.id, {p.id: p}) for p in (alex, masha)}
        self.chats[GROUP_ID] = Chat(GROUP_ID, dict(self.people), "Easel group")
        self.files = FileStore(max_file_bytes)
        self.updates = UpdateQueue(first_id)
        self.callbacks = Callbacks(query_lifetime_s)
        self.faults = Faults()
        self.flood = FloodLimits() if flood_limits else None
        self.profile = Profile()
        self.feed = Feed()
        self.calls: deque[Json] = deque(maxlen=MAX_CALLS)

    def close(self) -> None:
        """Lets go of everybody who waits: the server is about to stop."""
        self.feed.close()
        self.updates.release_poll()

    # People and chats

    def person(self, user_id: int) -> Person:
        """This person, made up on first sight; raises `ApiError` for an impossible id."""
        if person := self.people.get(user_id):
            return person
        if not 0 < user_id < 2**52:
            raise ApiError(422, "user_id must be a positive number")
        if len(self.people) >= MAX_PEOPLE:
            raise ApiError(409, f"there are {MAX_PEOPLE} people here already, no more fit")
        person = Person(user_id, f"User {user_id}", "en")
        self.people[user_id] = person
        self.chats[user_id] = Chat(user_id, {user_id: person})
        self.feed.tell("people")
        return person

    def chat_of(self, person: Person, chat_id: int | None) -> Chat:
        """A chat as its member opens it; raises `ApiError` 404."""
        chat = self.chats.get(person.id if chat_id is None else chat_id)
        if chat is None or person.id not in chat.members:
            known = ", ".join(str(c.id) for c in self.chats.values() if person.id in c.members)
            raise ApiError(404, f"user {person.id} is in no chat {chat_id}; in these: {known}")
        return chat

    def chat_for_bot(self, chat_id: str) -> Chat:
        """A chat the bot may write to; raises as Telegram does."""
        if not chat_id:
            raise BadRequestError("chat_id is empty")
        chat = self.chats.get(int(chat_id)) if _NUMBER.fullmatch(chat_id) else None
        if chat is None:
            raise BadRequestError("chat not found")
        return chat

    def check_writable(self, chat: Chat) -> None:
        """Raises `ForbiddenError` where the person has blocked the bot, or never wrote to it."""
        if not chat.is_private:
            return
        person = chat.members[chat.id]
        if person.blocked:
            raise ForbiddenError()
        if not person.started:
            raise ForbiddenError("bot can't initiate conversation with a user")

    def set_blocked(self, person: Person, blocked: bool) -> None:
        """Blocks or unblocks the bot; it learns of it by my_chat_member."""
        if person.blocked == blocked:
            return
        person.blocked = blocked
        before, after = ("member", "kicked") if blocked else ("kicked", "member")
        change = {
            "chat": self.chats[person.id].api(),
            "from": person.api(),
            "date": self.now(),
            "old_chat_member": self._membership(before),
            "new_chat_member": self._membership(after),
        }
        self.updates.put("my_chat_member", change)
        self.feed.tell("people")

    def _membership(self, status: str) -> Json:
        until = {"until_date": 0} if status == "kicked" else {}
        return {"user": self.bot.api(), "status": status, **until}

    # Messages

    @staticmethod
    def now() -> int:
        return int(time.time())

    def post(
        self,
        chat: Chat,
        sender: Person | None,
        content: Json,
        *,
        markup: Json | None = None,
        reply_to: Message | None = None,
        media_group_id: str | None = None,
    ) -> Message:
        """A new message; one of a person goes to the bot where it may see it."""
        quoted = reply_to.api(self.bot, with_reply=False) if reply_to else None
        message = Message(
            self._next_message_id, chat, sender, self.now(), content, markup, quoted, media_group_id
        )
        self._next_message_id += 1
        chat.add(message)
        self.feed.tell("message", chat_id=chat.id, message=message_view(message, self.bot))
        if sender is not None:
            if chat.is_private:
                sender.started = True
            if chat.is_private or self._seen_in_group(message, reply_to):
                self.updates.put("message", message.api(self.bot))
        return message

    def _seen_in_group(self, message: Message, reply_to: Message | None) -> bool:
        """Telegram's privacy mode: commands, mentions of the bot and replies to it."""
        if reply_to is not None and reply_to.sender is None:
            return True
        content = message.content
        text = content.get("text") or content.get("caption") or ""
        ours = f"@{self.bot.username}".lower()
        for entity in [*content.get("entities", ()), *content.get("caption_entities", ())]:
            word = utf16_slice(text, entity["offset"], entity["length"]).lower()
            if entity["type"] == "mention" and word == ours:
                return True
            if entity["type"] == "bot_command" and ("@" not in word or word.endswith(ours)):
                return True
        return False

    def change(self, message: Message, content: Json, markup: Json | None) -> None:
        """An edit by the bot."""
        message.content = content
        message.markup = markup
        message.edit_date = self.now()
        message.edits += 1
        self.show(message)

    def show(self, message: Message) -> None:
        """Tells the pages how a message looks now."""
        view = message_view(message, self.bot)
        self.feed.tell("message", chat_id=message.chat.id, message=view)

    def delete(self, message: Message) -> None:
        message.chat.messages.pop(message.message_id, None)
        self.feed.tell("deleted", chat_id=message.chat.id, message_id=message.message_id)

    def press(self, person: Person, message: Message, data: str) -> Press:
        """A person presses an inline button; the bot gets a callback_query."""
        press = self.callbacks.open()
        query = {
            "id": press.query_id,
            "from": person.api(),
            "message": message.api(self.bot),
            "chat_instance": str(abs(message.chat.id) * 7919),
            "data": data,
        }
        if self.faults.take(PRESS, message.chat.id):
            self.callbacks.expire(press.query_id)
        self.updates.put("callback_query", query)
        return press
