"""The answers and events of OpenAI's API, as its reference has them. Pure."""

import time
from typing import Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from gpu_server.pictures.formats import ImageFormat


def _now() -> int:
    return int(time.time())


def _is_absent(value: object) -> bool:
    return value is None


class TextAndImageTokens(BaseModel):
    text_tokens: int = 0
    image_tokens: int = 0


class Usage(BaseModel):
    """All zero: nothing here is counted or paid in tokens."""

    input_tokens: int = 0
    input_tokens_details: TextAndImageTokens = TextAndImageTokens()
    output_tokens: int = 0
    output_tokens_details: TextAndImageTokens = TextAndImageTokens()
    total_tokens: int = 0


class About(BaseModel):
    """What answers and events say besides their images."""

    background: Literal["transparent", "opaque"] = "opaque"
    output_format: ImageFormat
    quality: Literal["high"] = "high"
    size: str = Field(examples=["1024x1024"])
    safety_identifier: str | None = Field(
        None, exclude_if=_is_absent, description="the person, as the request named them"
    )
    usage: Usage = Usage()


class ImageItem(BaseModel):
    b64_json: str | None = Field(None, exclude_if=_is_absent)
    url: str | None = Field(
        None, exclude_if=_is_absent, description="works without a key for an hour"
    )


class Images(About):
    created: int = Field(default_factory=_now)
    data: list[ImageItem] = []


class _ImageEvent(About):
    b64_json: str
    created_at: int = Field(default_factory=_now)


class PartialImage(_ImageEvent):
    """The picture so far, blurred."""

    type: Literal["image_generation.partial_image", "image_edit.partial_image"]
    partial_image_index: int


class CompletedImage(_ImageEvent):
    type: Literal["image_generation.completed", "image_edit.completed"]


class ErrorDetail(BaseModel):
    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """An error in OpenAI's shape."""

    error: ErrorDetail


class Model(BaseModel):
    id: str = Field(examples=["easel:anime"])
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "easel"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class ChatUsage(BaseModel):
    """All zero, as `Usage`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class ChatMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str = Field(description="a Markdown image", examples=["![a fox](https://…)"])
    refusal: None = None


class ChatChoice(BaseModel):
    index: int
    message: ChatMessage
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class _Chat(BaseModel):
    id: str = Field(examples=["chatcmpl-3f0c0f608a1a4b8e9d0e1f0b8a4a1c55"])
    created: int = Field(default_factory=_now)
    model: str


class ChatCompletion(_Chat):
    object: Literal["chat.completion"] = "chat.completion"
    choices: list[ChatChoice]
    usage: ChatUsage = ChatUsage()


class ChatDelta(BaseModel):
    role: Literal["assistant"] | None = Field(None, exclude_if=_is_absent)
    content: str | None = Field(None, exclude_if=_is_absent)
    reasoning_content: str | None = Field(
        None,
        exclude_if=_is_absent,
        description="place in line and progress; chat programs show it apart from the answer",
    )


class ChatChunkChoice(BaseModel):
    index: int
    delta: ChatDelta
    logprobs: None = None
    finish_reason: Literal["stop"] | None = None


class ChatChunk(_Chat):
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: list[ChatChunkChoice]
    usage: ChatUsage | None = Field(None, exclude_if=_is_absent)


def event_schema(kind: Any) -> dict[str, Any]:
    """Return the schema of an event stream's events, in itself complete."""
    schema = TypeAdapter(kind).json_schema(mode="serialization")
    return dict(_inlined(schema, schema.pop("$defs", {})))


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items()}
