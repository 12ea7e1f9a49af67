"""The chat page's own JSON interface, open to scripts: `/chat/…`."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field

from telegram_bot.local.chat.acting import Body, PressButton, Send, Text, press_button, send
from telegram_bot.local.chat.hooks import Hooks
from telegram_bot.local.errors import ApiError
from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.faults import PRESS, Fault, FaultName
from telegram_bot.local.state.model import Chat, Person
from telegram_bot.local.state.views import message_view, person_view
from telegram_bot.local.state.world import World


class OrderFault(Body):
    """`seconds`: retry_after of 429, delay of "slow"; `method` "*" is any but getUpdates."""

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


def chat_routes(world: World, hooks: Hooks) -> APIRouter:
    """The routes under `/chat`."""
    api = ChatApi(world, hooks)
    router = APIRouter(prefix="/chat")
    router.get("/messages")(api.messages)
    router.get("/calls")(api.calls)
    router.get("/state")(api.state)
    router.get("/files/{file_id}")(api.file)
    router.get("/events")(api.events)
    router.post("/send")(api.send)
    router.post("/press")(api.press)
    router.post("/fault")(api.fault)
    router.delete("/faults")(api.no_faults)
    router.post("/people")(api.people)
    router.post("/hook")(api.hook)
    return router


@dataclass(frozen=True)
class ChatApi:
    """What the page and scripts may ask for."""

    world: World
    hooks: Hooks

    async def send(self, body: Send) -> Json:
        return await send(self.world, body)

    async def press(self, body: PressButton) -> Json:
        return await press_button(self.world, body)

    async def messages(
        self, request: Request, user_id: int, chat_id: int | None = None, after: int = 0
    ) -> list[Json]:
        chat = self.world.chat_of(self.world.person(user_id), chat_id)
        found = [m for m in chat.messages.values() if m.message_id > after]
        base = str(request.base_url).rstrip("/")
        return [message_view(m, self.world.bot, base) for m in found]

    async def calls(self) -> list[Json]:
        return list(self.world.calls)

    async def fault(self, body: OrderFault) -> Json:
        _order(self.world, body)
        return _faults(self.world)

    async def no_faults(self) -> Json:
        self.world.faults.clear()
        return _faults(self.world)

    async def state(self, user_id: int, chat_id: int | None = None) -> Json:
        return _state(self.world, self.hooks, self.world.person(user_id), chat_id)

    async def people(self, body: ChangePerson) -> Json:
        return _change(self.world, body)

    async def hook(self, body: RunHook) -> Json:
        return await self.hooks.run(body.name)

    async def file(self, file_id: str) -> Response:
        return _file(self.world, file_id)

    async def events(self) -> StreamingResponse:
        return StreamingResponse(_stream(self.world), media_type="text/event-stream")


def _order(world: World, body: OrderFault) -> None:
    if body.fault == "duplicate_update":
        world.updates.duplicate_next(body.count)
    elif body.fault == "stale_update":
        if not world.updates.repeat_last():
            raise ApiError(409, "no update was delivered yet that could come again")
    else:
        method = PRESS if body.fault == "stale_callback" else body.method
        world.faults.add(Fault(method, body.fault, body.count, body.chat_id, body.seconds))


def _faults(world: World) -> Json:
    waiting = [
        {"method": f.method, "fault": f.fault, "count": f.remaining, "chat_id": f.chat_id}
        for f in world.faults.waiting()
    ]
    return {"waiting": waiting}


def _state(world: World, hooks: Hooks, person: Person, chat_id: int | None) -> Json:
    chat = world.chat_of(person, chat_id)
    language = person.language_code.split("-")[0]
    profile = world.profile
    return {
        "me": person_view(person),
        "people": [person_view(p) for p in world.people.values()],
        "bot": {
            **world.bot.api(),
            "name": profile.text("name", language, world.bot.first_name),
            "description": profile.text("description", language),
            "short_description": profile.text("short_description", language),
            "online": world.updates.listening,
        },
        "chats": [_chat_view(world, c) for c in world.chats.values() if person.id in c.members],
        "commands": profile.commands_seen(person.id, chat.id, language),
        "hooks": list(hooks.commands),
        "faults": _faults(world)["waiting"],
    }


def _chat_view(world: World, chat: Chat) -> Json:
    last = next(reversed(chat.messages.values()), None)
    return {
        "id": chat.id,
        "title": chat.title or None,
        "private": chat.is_private,
        "members": len(chat.members) + 1,
        "last": message_view(last, world.bot) if last else None,
    }


def _change(world: World, body: ChangePerson) -> Json:
    person = world.person(body.user_id)
    if body.first_name is not None:
        person.first_name = body.first_name
    if body.language_code is not None:
        person.language_code = body.language_code
    if body.blocked is not None:
        world.set_blocked(person, body.blocked)
    world.feed.tell("people")
    return person_view(person)


def _file(world: World, file_id: str) -> Response:
    file = world.files.get(file_id)
    if file is None:
        raise ApiError(404, "this file is no longer kept")
    headers = {"Cache-Control": "private, max-age=86400, immutable"}
    if file.kind == "Document":
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(file.name, safe='')}"
    return Response(file.data, media_type=file.media_type, headers=headers)


async def _stream(world: World) -> AsyncIterator[str]:
    yield "retry: 1000\n\n"
    async for event in world.feed.listen():
        yield ": still here\n\n" if event is None else f"data: {_json(event)}\n\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
