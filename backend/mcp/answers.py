"""What the tools answer with: structured content, the same as text, and the pictures."""

import base64
from collections.abc import Iterator, Sequence

from mcp_types import CallToolResult, ContentBlock, ImageContent, ResourceLink, TextContent
from pydantic import BaseModel

from backend.mcp.studio import Studio
from backend.mcp.tools import Drawn, Picture
from backend.schemas import Generation
from gpu_server.schemas import Result, State
from web.errors import EaselError, FieldError

_MAX_INLINE = 1_000_000
"""Characters of base64 in an answer: the SDK's clients refuse an event of more than 1 MiB."""


def structured(answer: BaseModel, *pictures: ContentBlock) -> CallToolResult:
    """Answer with a model; as text too, which is all that some clients show to their model."""
    text = answer.model_dump_json(exclude_none=True)
    return CallToolResult(
        content=[TextContent(text=text), *pictures],
        structured_content=answer.model_dump(mode="json", exclude_none=True),
    )


async def drawn(studio: Studio, result: Result) -> CallToolResult:
    urls = await studio.urls(result.id, len(result.images))
    pictures = [
        Picture(url=url, **image.model_dump(exclude={"data"}))
        for url, image in zip(urls, result.images, strict=True)
    ]
    about = result.model_dump(include={"mode", "style", "seed", "engine", "status"})
    answer = Drawn(id=str(result.id), stage="done", progress=1.0, pictures=pictures, **about)
    data = [image.data for image in result.images]
    return structured(answer, *_shown(pictures, data))


async def status(studio: Studio, generation: Generation) -> CallToolResult:
    has_images = generation.status is State.succeeded
    numbers = range(len(generation.images) if has_images else 0)
    urls = await studio.urls(generation.id, len(numbers))
    pictures = [
        Picture(url=url, **image.model_dump(exclude={"url"}))
        for url, image in zip(urls, generation.images, strict=False)
    ]
    data = [
        base64.b64encode(await studio.image(generation.id, number)).decode() for number in numbers
    ]
    shared = Drawn.model_fields.keys() - {"id", "error", "pictures"}
    answer = Drawn(
        id=str(generation.id),
        error=generation.error.detail if generation.error else None,
        pictures=pictures,
        **generation.model_dump(include=shared),
    )
    return structured(answer, *_shown(pictures, data))


def failed(error: EaselError) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=sentence(error))], is_error=True)


def sentence(error: EaselError) -> str:
    """Say what was wrong, what is allowed, and when to try again."""
    text = "; ".join(map(_fault, error.errors)) or error.detail
    if error.retry_after is not None:
        text += f". Try again in {max(1, round(error.retry_after))} s"
    return text


def _fault(fault: FieldError) -> str:
    allowed = fault.allowed
    if isinstance(allowed, list):
        allowed = ", ".join(allowed)
    return f"{fault.field}: {fault.message}" + (f" (allowed: {allowed})" if allowed else "")


def _shown(pictures: Sequence[Picture], data: Sequence[str]) -> Iterator[ContentBlock]:
    """Yield the pictures while they fit into one answer, and links to the others."""
    room = _MAX_INLINE
    for picture, text in zip(pictures, data, strict=True):
        if len(text) <= room:
            room -= len(text)
            yield ImageContent(data=text, mime_type=picture.media_type)
        else:
            yield ResourceLink(
                name=f"seed {picture.seed}",
                uri=picture.url,
                mime_type=picture.media_type,
                size=len(text) // 4 * 3 - text[-2:].count("="),
            )
