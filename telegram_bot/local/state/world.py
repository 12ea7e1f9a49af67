"""The state of the local Telegram: one bot, the people and the chats."""

import asyncio
import secrets
import time
from collections import OrderedDict, deque

from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.faults import PRESS, Faults, FloodLimits
from telegram_bot.local.state.feed import Feed
from telegram_bot.local.state.files import FileStore
from telegram_bot.local.state.model import Answer, Bot, Chat, Directory, Message, Person, Press
from telegram_bot.local.state.updates import UpdateQueue
from telegram_bot.local.state.views import message_view

_MAX_CALLS = 300
_MAX_FAULTS = 100
_MAX_PRESSES = 1000
_EPOCH = 1_700_000_000  # ids keep rising across restarts: bots remember message ids


class World:
    """Every change goes through here: number it, store it, queue the update, publish it."""

    def __init__(
        self, *, max_file_bytes: int, query_lifetime_s: float = 30, flood_limits: bool = False
    ) -> None:
        first_id = int((time.time() - _EPOCH) * 10)
        self._next_message_id = first_id
        self.bot = Bot(7000000001)
        self.feed = Feed()
        self.directory = Directory()
        self.files = FileStore(max_file_bytes)
        self.updates = UpdateQueue(first_id)
        self.faults = Faults(maxlen=_MAX_FAULTS)
        self.flood = FloodLimits() if flood_limits else None
        self.calls: deque[Json] = deque(maxlen=_MAX_CALLS)
        self._query_lifetime_s = query_lifetime_s
        self._presses: OrderedDict[str, Press] = OrderedDict()

    def close(self) -> None:
        """Release every open stream and poll before the server stops."""
        self.feed.close()
        self.updates.release_poll()

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
        """Add a message; queue a person's message for the bot if the bot may see it."""
        message = Message(
            message_id=self._next_message_id,
            chat=chat,
            sender=sender,
            date=self.now(),
            content=content,
            markup=markup,
            reply_to=reply_to.api(self.bot, with_reply=False) if reply_to else None,
            media_group_id=media_group_id,
        )
        self._next_message_id += 1
        chat.add(message)
        self.show(message)
        if sender is None:
            return message
        # In a group, Telegram's privacy mode shows a bot only what is addressed to it.
        answers_bot = reply_to is not None and reply_to.sender is None
        if chat.is_private:
            sender.started = True
        if chat.is_private or answers_bot or message.addresses(self.bot):
            self.updates.put("message", message.api(self.bot))
        return message

    def edit(self, message: Message, content: Json, markup: Json | None) -> None:
        message.content = content
        message.markup = markup
        message.edit_date = self.now()
        message.edits += 1
        self.show(message)

    def show(self, message: Message) -> None:
        """Publish the current look of a message to the pages."""
        view = message_view(message, self.bot)
        self.feed.publish("message", chat_id=message.chat.id, message=view)

    def delete(self, message: Message) -> None:
        message.chat.messages.pop(message.message_id, None)
        self.feed.publish("deleted", chat_id=message.chat.id, message_id=message.message_id)

    def press(self, person: Person, message: Message, data: str) -> Press:
        """Press an inline button: queue a callback_query for the bot."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        press = Press(str(secrets.randbits(62)), time.monotonic(), answered)
        query = {
            "id": press.query_id,
            "from": person.api(),
            "message": message.api(self.bot),
            "chat_instance": str(abs(message.chat.id) * 7919),
            "data": data,
        }
        if not self.faults.take(PRESS, message.chat.id):
            self._presses[press.query_id] = press
            while len(self._presses) > _MAX_PRESSES:
                self._presses.popitem(last=False)
        self.updates.put("callback_query", query)
        return press

    def answer(self, query_id: str, answer: Answer) -> None:
        """Hand the answer to the person. Raises BadRequest when it is the second or too late."""
        press = self._presses.pop(query_id, None)
        if press is None or time.monotonic() - press.pressed_at > self._query_lifetime_s:
            reason = "query is too old and response timeout expired or query ID is invalid"
            raise BadRequest(reason)
        if not press.answered.done():
            press.answered.set_result(answer)

    def set_blocked(self, person: Person, blocked: bool) -> None:
        """Block or unblock the bot; the bot learns of it through a my_chat_member update."""
        if person.blocked == blocked:
            return
        person.blocked = blocked
        member = {"user": self.bot.api(), "status": "member"}
        kicked = {"user": self.bot.api(), "status": "kicked", "until_date": 0}
        before, after = (member, kicked) if blocked else (kicked, member)
        change = {
            "chat": self.directory.chats[person.id].api(),
            "from": person.api(),
            "date": self.now(),
            "old_chat_member": before,
            "new_chat_member": after,
        }
        self.updates.put("my_chat_member", change)
