"""The routes under `/chat`, for the page and for scripts."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Field

from telegram_bot.local.chat.acting import Body, PressButton, Send, Text, press_button, send
from telegram_bot.local.chat.hooks import Hooks
from telegram_bot.local.errors import ApiError
from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.faults import PRESS, Fault, FaultName
from telegram_bot.local.state.model import Chat
from telegram_bot.local.state.views import message_view, person_view
from telegram_bot.local.state.world import World


class OrderFault(Body):
    """`seconds`: retry_after of 429 or delay of "slow"; `method` "*": any but getUpdates."""

    method: Text = "*"
    fault: FaultName
    count: int = Field(1, ge=1, le=1000)
    chat_id: int | None = None
    seconds: int = Field(3, ge=1, le=3600)


class ChangePerson(Body):
    user_id: int
    first_name: Text | None = Field(None, min_length=1, max_length=64)
    language_code: str | None = Field(None, pattern="^[a-z]{2}(-[A-Za-z]{2,4})?$")
    blocked: bool | None = None


class RunHook(Body):
    name: Text


@dataclass(frozen=True)
class ChatApi:
    """The page's JSON interface to the world."""

    world: World
    hooks: Hooks

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/chat")
        router.get("/messages")(self.messages)
        router.get("/calls")(self.calls)
        router.get("/state")(self.state)
        router.get("/files/{file_id}")(self.file)
        router.get("/events", response_class=EventSourceResponse)(self.events)
        router.post("/send")(self.send)
        router.post("/press")(self.press)
        router.post("/fault")(self.order_fault)
        router.delete("/faults")(self.clear_faults)
        router.post("/people")(self.change_person)
        router.post("/hook")(self.run_hook)
        return router

    async def send(self, body: Send) -> Json:
        return await send(self.world, body)

    async def press(self, body: PressButton) -> Json:
        return await press_button(self.world, body)

    async def messages(
        self, request: Request, user_id: int, chat_id: int | None = None, after: int = 0
    ) -> list[Json]:
        directory = self.world.directory
        chat = directory.chat_of(directory.person(user_id), chat_id)
        base = str(request.base_url).rstrip("/")
        return [
            message_view(message, self.world.bot, base)
            for message in chat.messages.values()
            if message.message_id > after
        ]

    async def calls(self) -> list[Json]:
        return list(self.world.calls)

    async def order_fault(self, body: OrderFault) -> Json:
        updates = self.world.updates
        if body.fault == "duplicate_update":
            updates.duplicate_next(body.count)
        elif body.fault == "stale_update":
            if not updates.repeat_last():
                raise ApiError(409, "the bot has not confirmed any update that could be repeated")
        else:
            method = PRESS if body.fault == "stale_callback" else body.method
            fault = Fault(method, body.fault, body.count, body.chat_id, body.seconds)
            self.world.faults.append(fault)
        return {"waiting": self._pending_faults()}

    async def clear_faults(self) -> Json:
        self.world.faults.clear()
        return {"waiting": []}

    async def state(self, user_id: int, chat_id: int | None = None) -> Json:
        """Return everything the page shows around the open chat."""
        world = self.world
        person = world.directory.person(user_id)
        chat = world.directory.chat_of(person, chat_id)
        language = person.language_code.split("-")[0]
        bot = {
            **world.bot.api(),
            "name": world.bot.text("name", language),
            "description": world.bot.text("description", language),
            "online": world.updates.bot_online,
        }
        return {
            "me": person_view(person),
            "people": [person_view(p) for p in world.directory.people.values()],
            "bot": bot,
            "chats": [self._chat(c) for c in world.directory.chats_of(person)],
            "commands": world.bot.menu(person.id, chat.id, language),
            "hooks": list(self.hooks.commands),
            "faults": self._pending_faults(),
        }

    async def change_person(self, body: ChangePerson) -> Json:
        person = self.world.directory.person(body.user_id)
        if body.first_name is not None:
            person.first_name = body.first_name
        if body.language_code is not None:
            person.language_code = body.language_code
        if body.blocked is not None:
            self.world.set_blocked(person, body.blocked)
        self.world.feed.publish("people")
        return person_view(person)

    async def run_hook(self, body: RunHook) -> Json:
        return await self.hooks.run(body.name)

    async def file(self, file_id: str) -> Response:
        file = self.world.files.get(file_id)
        if file is None:
            raise ApiError(404, "this file is no longer kept")
        headers = {"Cache-Control": "private, max-age=86400, immutable"}
        if file.kind == "document":
            name = quote(file.name, safe="")
            headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
        return Response(file.data, media_type=file.media_type, headers=headers)

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(retry=1000)
        async for event in self.world.feed.listen():
            yield ServerSentEvent(data=event)

    def _pending_faults(self) -> list[Json]:
        return [
            {"method": f.method, "fault": f.fault, "count": f.remaining, "chat_id": f.chat_id}
            for f in self.world.faults
        ]

    def _chat(self, chat: Chat) -> Json:
        last = next(reversed(chat.messages.values()), None)
        return {
            "id": chat.id,
            "title": chat.title or None,
            "private": chat.is_private,
            "members": len(chat.members) + 1,
            "last": message_view(last, self.world.bot) if last else None,
        }
