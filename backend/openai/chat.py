"""Chat completions, for programs that know nothing else: the last message is drawn."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.sse import format_sse_event
from pydantic import ConfigDict, Field, model_validator
from starlette.responses import JSONResponse

from backend.openai import bodies
from backend.openai.answers import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatMessage,
    ChatUsage,
    event_schema,
)
from backend.openai.calls import AnyCaller, Caller
from backend.openai.failures import in_openai_shape
from backend.openai.models import ANY, Models
from backend.openai.person import NamesPerson
from backend.openai.requests import ImageCall, ImageRequest, translate
from backend.routes.context import owner_of
from backend.schemas import Generation
from backend.state import State
from backend.storage.generations import GenerationRow
from gpu_server.schemas import ProgressEvent
from web import content, errors, sse
from web.errors import FieldError, InvalidRequest
from web.sse import Event
from workflows.spec import PHOTOS

_IMAGE_FIELDS = ("size", "style", "output_format", "background")
_FOR_TEXT = "### Task:"
"""How Open WebUI's prompts for titles, tags and questions begin: each would be drawn."""
_ALT = 100
"""Characters of a prompt that the picture's alternative text has."""


class ChatRequest(NamesPerson):
    """A chat, of which the last user message is drawn.

    Its picture is edited if it has one. The mode's parameters (`seed`, `negative_prompt`, …) and
    `size`, `style`, `output_format` are taken; fields for language models have no effect.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    model: str | None = Field(None, examples=["easel", "easel:anime"])
    messages: list[dict[str, Any]] = Field(
        examples=[[{"role": "user", "content": "a red fox in snow"}]]
    )
    n: int | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data


def _if_switched_on(request: Request) -> None:
    if not State.of(request.app).answers_chats:
        raise errors.NotFound(
            "Chats are switched off here (BACKEND_CHAT_COMPLETIONS); "
            "use POST /v1/images/generations, or /v1/images/edits with a photo"
        )


async def _read(request: Request) -> ChatRequest:
    if content.is_form(request):
        fault = FieldError(field="body", message="is a form", allowed=content.JSON_TYPE)
        raise InvalidRequest.of([fault])
    return bodies.validated(ChatRequest, await content.read_json(request))


router = APIRouter(prefix="/v1")
ChatBody = Annotated[ChatRequest, Depends(_read)]
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ChatCompletion,
        "content": {"text/event-stream": {"schema": event_schema(ChatChunk)}},
    }
}


@router.post(
    "/chat/completions",
    summary="Draw the last message of a chat; the answer is a Markdown image",
    dependencies=[Depends(owner_of), Depends(_if_switched_on)],
    responses=_ANSWER,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {content.JSON_TYPE: {"schema": ChatRequest.model_json_schema()}},
        }
    },
)
async def complete_chat(body: ChatBody, caller: AnyCaller) -> Response:
    text, photos = await _last_message(body.messages)
    call = _translated(caller.models, body, text, photos)
    row = await caller.accept(call)
    answer = ChatAnswer(caller, row, body.model or ANY)
    if body.stream:
        has_usage = bool((body.stream_options or {}).get("include_usage"))
        response: Response = sse.response(answer.chunks(has_usage=has_usage))
    else:
        response = JSONResponse(answer.whole(await caller.finished(row)).model_dump())
    response.headers.update(call.headers)
    return response


def _translated(models: Models, body: ChatRequest, text: str, photos: list[bytes]) -> ImageCall:
    mode, _ = models.choose(body.model, photo=bool(photos))
    known = {*mode.spec.parameters, *_IMAGE_FIELDS} - {"prompt", *PHOTOS}
    taken = {name: value for name, value in (body.model_extra or {}).items() if name in known}
    fields = {**taken, "prompt": text, "model": body.model, "n": body.n, "user": body.person}
    request = bodies.validated(ImageRequest, fields)
    return translate(models, request, photos=photos, edits=bool(photos))


async def _last_message(messages: list[dict[str, Any]]) -> tuple[str, list[bytes]]:
    """Return the text and the pictures of the last user message."""
    of_user = [at for at, message in enumerate(messages) if message.get("role") == "user"]
    if not of_user:
        raise _wrong("messages", "has no message whose role is user")
    field, sent = f"messages[{of_user[-1]}].content", messages[of_user[-1]].get("content")
    texts: list[str] = []
    photos: list[bytes] = []
    for part in sent if isinstance(sent, list) else [{"type": "text", "text": sent}]:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image_url"}:
                photos.append(await bodies.photo_in(part, field))
            case _:
                raise _wrong(field, "holds something else", ["text", "image_url"])
    text = "\n".join(texts).strip()
    if not text and not photos:
        raise _wrong(field, "is empty", "words for a picture, and a picture to change")
    if text.startswith(_FOR_TEXT):
        raise _wrong(field, "is a task for a language model; Easel draws pictures only")
    return text, photos


def _wrong(field: str, message: str, allowed: str | list[str] | None = None) -> InvalidRequest:
    return InvalidRequest.of([FieldError(field=field, message=message, allowed=allowed)])


@dataclass(frozen=True)
class ChatEvent(Event):
    """An event as chats have them: without a name, and `[DONE]` after the last."""

    is_last: bool = False

    def encode(self) -> bytes:
        event = format_sse_event(data_str=self.data.model_dump_json())
        return event + format_sse_event(data_str="[DONE]") if self.is_last else event


@dataclass(frozen=True)
class ChatAnswer:
    """The answer to a chat: as many choices as pictures, each a Markdown image."""

    caller: Caller
    row: GenerationRow
    model: str

    def whole(self, ended: GenerationRow) -> ChatCompletion:
        choices = [
            ChatChoice(index=n, message=ChatMessage(content=self._picture(n)))
            for n in range(ended.request.count)
        ]
        return ChatCompletion(id=_chat_id(self.row.public_id), model=self.model, choices=choices)

    async def chunks(self, *, has_usage: bool) -> AsyncIterator[ChatEvent]:
        """Yield place in line and progress, then the pictures; hanging up abandons them."""
        complete = False
        numbers = range(self.row.request.count)
        try:
            yield self._chunk(*(_choice(n, role="assistant", content="") for n in numbers))
            async for text in self._progress():
                yield self._chunk(_choice(0, reasoning_content=f"{text}\n"))
            await self.caller.service.finished(self.row)
            complete = True
            for n in numbers:
                yield self._chunk(_choice(n, content=self._picture(n)))
            ends = (_choice(n, finish_reason="stop") for n in numbers)
            yield self._chunk(*ends, is_last=not has_usage)
            if has_usage:
                yield self._chunk(usage=ChatUsage(), is_last=True)
        except errors.EaselError as error:
            yield ChatEvent("", in_openai_shape(error))
        finally:
            await asyncio.shield(self.caller.release(self.row)(complete))

    async def _progress(self) -> AsyncIterator[str]:
        """Yield where the generation is, in words, whenever that has changed visibly."""
        told = ""
        async for event in self.caller.service.events(self.row):
            text = "" if event.name == "result" else _in_words(event)
            if text and not told.startswith(text):
                yield text
                told = text

    def _picture(self, number: int) -> str:
        words = str(self.row.request.values.get("prompt", ""))
        alt = " ".join(re.sub(r"[^\w ,.'-]+", " ", words[:_ALT]).split())
        return f"![{alt}]({self.caller.url(self.row, number, lasting=True)})"

    def _chunk(
        self, *choices: ChatChunkChoice, usage: ChatUsage | None = None, is_last: bool = False
    ) -> ChatEvent:
        number = _chat_id(self.row.public_id)
        chunk = ChatChunk(id=number, model=self.model, choices=list(choices), usage=usage)
        return ChatEvent("", chunk, is_last=is_last)


def _choice(index: int, finish_reason: Any = None, **delta: str) -> ChatChunkChoice:
    return ChatChunkChoice(
        index=index, delta=ChatDelta.model_validate(delta), finish_reason=finish_reason
    )


def _chat_id(generation_id: UUID) -> str:
    return f"chatcmpl-{generation_id.hex}"


def _in_words(event: Event) -> str:
    match event.data:
        case Generation(position=int(position)):
            return f"In line, position {position}"
        case ProgressEvent(progress=progress) if progress > 0:
            return f"Drawing, {int(progress * 10) * 10} %"
        case Generation(stage=stage) | ProgressEvent(stage=stage):
            return stage.capitalize()
    return ""
