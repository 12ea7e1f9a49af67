"""The context every handler gets: the person, the answers, and the parts of the bot."""

from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from telegram import CallbackQuery, Chat, Message, Update, User
from telegram.error import BadRequest, ChatMigrated
from telegram.ext import Application, CallbackContext, ExtBot

from backend.client import BackendClient
from backend.schemas import GenerationRequest
from telegram_bot.catalogue import Catalogue
from telegram_bot.generating.request import backend_user, generation_id
from telegram_bot.generating.tracker import Tracker, guarded
from telegram_bot.messages.callback_data import JobPress, MenuPress
from telegram_bot.messages.editor import Editor, MessageGone, Place
from telegram_bot.messages.rate_limiter import Urgency
from telegram_bot.messages.view import View
from telegram_bot.metrics import Metrics
from telegram_bot.settings import Settings
from telegram_bot.storage.database import Database
from telegram_bot.storage.deliveries import Deliveries, Delivery
from telegram_bot.storage.inbox import Inbox
from telegram_bot.storage.people import Draft, People, Person
from telegram_bot.texts import Languages, Texts

_MAX_TOAST = 200
PAUSED = "paused"
"""Name of the note that exists while the bot takes no new requests."""


@dataclass(kw_only=True)
class Easel:
    """The parts of the bot, opened once."""

    settings: Settings
    backend: BackendClient
    events: BackendClient
    database: Database
    inbox: Inbox
    deliveries: Deliveries
    people: People
    catalogue: Catalogue
    languages: Languages
    editor: Editor
    tracker: Tracker
    metrics: Metrics

    async def close(self) -> None:
        await self.backend.close()
        await self.events.close()
        self.database.close()


class Context(CallbackContext[ExtBot[Urgency], dict[Any, Any], dict[Any, Any], Easel]):
    """The context of one update: who it is from, in which language to answer, and the parts."""

    def __init__(
        self,
        application: "EaselApplication",
        chat_id: int | None = None,
        user_id: int | None = None,
    ) -> None:
        super().__init__(application, chat_id, user_id)
        self._who = user_id or 0

    @property
    def easel(self) -> Easel:
        return self.bot_data

    @property
    def person(self) -> Person:
        return self.easel.people.get(self._who)

    @property
    def texts(self) -> Texts:
        return self.easel.languages.of(self.person.language)

    @property
    def is_admin(self) -> bool:
        return self._who in self.easel.settings.bot_admins

    async def reply(self, update: Update, view: View) -> Message:
        """Answer a message; in a group as a reply, so that it is clear who is meant."""
        chat, message = the_chat(update), update.effective_message
        reply_to = message.message_id if message and chat.id < 0 else None
        return await self.easel.editor.send(chat.id, view, reply_to=reply_to)

    async def change(self, query: CallbackQuery, view: View) -> None:
        """Change the message under a pressed button."""
        if (message := query.message) is not None:
            held = isinstance(message, Message) and not message.text
            place = Place(message.chat.id, message.message_id, held)
            try:
                await self.easel.editor.edit(place, view)
            except ChatMigrated as moved:  # the menu stayed behind in the old group
                await self.easel.editor.send(moved.new_chat_id, view)
            except MessageGone:
                return

    def in_background(self, update: Update, work: Awaitable[None]) -> None:
        """Run work that outlives its handler. After a crash the update is handled again."""
        inbox = self.easel.inbox
        inbox.hold(update.update_id)

        async def finish() -> None:
            await guarded(work)
            inbox.release(update.update_id)

        self.easel.tracker.spawn(finish())

    def set_draft(self, draft: Draft | None) -> None:
        self.easel.people.set_draft(self._who, draft)

    def draw(
        self,
        request: GenerationRequest,
        chat_id: int,
        origin: str,
        *,
        photo: str | None = None,
        reply_to: int | None = None,
        place: Place | None = None,
    ) -> bool:
        """Record a request of this person and track it; False if it was recorded before.

        `origin` names the message or press it came from; `photo` is the source of the photo to
        restyle; `place` is the message to continue in.
        """
        easel = self.easel
        delivery = Delivery(
            generation=generation_id(easel.settings.bot_id, chat_id, origin),
            user_id=self._who,
            chat_id=chat_id,
            origin=origin.split("/", maxsplit=1)[0],
            request=request.model_copy(update={"user": backend_user(self._who)}),
            photo=photo,
            message_id=place.message_id if place else None,
            holds_media=place is not None and place.holds_media,
            reply_to=reply_to,
        )
        if not easel.deliveries.add(delivery):
            return False
        easel.tracker.track(delivery)
        return True


EaselApplication = Application[
    ExtBot[Urgency], Context, dict[Any, Any], dict[Any, Any], Easel, None
]
Press = JobPress | MenuPress


class Declined(Exception):
    """A button press that leads nowhere; its message is the key of the toast that says why."""


async def toast(query: CallbackQuery, text: str = "", *, alert: bool = False) -> None:
    """Acknowledge a button press; call it first. An expired query is ignored."""
    with suppress(BadRequest):
        await query.answer(text[:_MAX_TOAST] or None, show_alert=alert)


def the_chat(update: Update) -> Chat:
    if update.effective_chat is None:
        raise TypeError("this update has no chat")
    return update.effective_chat


def the_user(update: Update) -> User:
    if update.effective_user is None:
        raise TypeError("this update has no user")
    return update.effective_user


def the_message(update: Update) -> Message:
    if update.effective_message is None:
        raise TypeError("this update has no message")
    return update.effective_message


def the_query(update: Update) -> CallbackQuery:
    if update.callback_query is None:
        raise TypeError("this update has no callback query")
    return update.callback_query
