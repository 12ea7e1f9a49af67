"""Find people and chats."""

import re

from telegram_bot.local.errors import ApiError, BadRequest
from telegram_bot.local.state.feed import Feed
from telegram_bot.local.state.model import Chat, Person

_GROUP_ID = -1001700000001
_MAX_PEOPLE = 2000
_NUMBER = re.compile(r"-?[0-9]{1,18}")


class Directory:
    """Two people and their group to begin with; a new user id introduces a new person."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        alex = Person(1001, "Alex", "en", "alex_local")
        masha = Person(1002, "Маша", "ru", "masha_local")
        self.people: dict[int, Person] = {p.id: p for p in (alex, masha)}
        self.chats: dict[int, Chat] = {p.id: Chat(p.id, {p.id: p}) for p in (alex, masha)}
        self.chats[_GROUP_ID] = Chat(_GROUP_ID, dict(self.people), "Easel group")

    def person(self, user_id: int) -> Person:
        """Return this person, created if new; raise `ApiError` for an impossible id."""
        if person := self.people.get(user_id):
            return person
        if not 0 < user_id < 2**52:
            raise ApiError(422, "user_id must be a positive number")
        if len(self.people) >= _MAX_PEOPLE:
            raise ApiError(409, f"at most {_MAX_PEOPLE} people fit here")
        person = Person(user_id, f"User {user_id}", "en")
        self.people[user_id] = person
        self.chats[user_id] = Chat(user_id, {user_id: person})
        self._feed.publish("people")
        return person

    def chats_of(self, person: Person) -> list[Chat]:
        return [chat for chat in self.chats.values() if person.id in chat.members]

    def chat_of(self, person: Person, chat_id: int | None) -> Chat:
        """Return a chat of this person, by default the private one; raise `ApiError` 404."""
        chat = self.chats.get(person.id if chat_id is None else chat_id)
        if chat is None or person.id not in chat.members:
            known = ", ".join(str(c.id) for c in self.chats_of(person))
            raise ApiError(404, f"user {person.id} is in no chat {chat_id}; in these: {known}")
        return chat

    def chat_for_bot(self, chat_id: str) -> Chat:
        """Return the chat of a Bot API call; raise `BadRequest` as Telegram does."""
        if not chat_id:
            raise BadRequest("chat_id is empty")
        chat = self.chats.get(int(chat_id)) if _NUMBER.fullmatch(chat_id) else None
        if chat is None:
            raise BadRequest("chat not found")
        return chat
