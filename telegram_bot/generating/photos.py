"""Fetch photos from Telegram and pictures from the backend."""

import json
from collections.abc import Mapping
from uuid import UUID

from telegram import Bot, Message

from backend.client import BackendClient
from telegram_bot.messages.view import Media
from web.errors import InvalidRequest

MAX_BYTES = 20 * 1024 * 1024
"""The largest file that Telegram lets a bot download."""

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8")


def from_file(file_id: str) -> str:
    return f"file:{file_id}"


def from_generation(generation: UUID, number: int) -> str:
    return f"made:{generation}:{number}"


def packed(sources: Mapping[str, str]) -> str:
    """Return the sources of several photos, by their parameters, as one text to keep."""
    return sources["image"] if sources.keys() == {"image"} else json.dumps(dict(sources))


def unpacked(text: str | None) -> dict[str, str]:
    """Return the sources of photos by their parameters: a plain text is that of `image`."""
    if not text:
        return {}
    return json.loads(text) if text.startswith("{") else {"image": text}


async def fetch(bot: Bot, backend: BackendClient, source: str) -> bytes:
    """Return the bytes of a photo from its source; raises TelegramError or EaselError."""
    kind, _, rest = source.partition(":")
    if kind == "made":
        generation, _, number = rest.partition(":")
        return await backend.image(UUID(generation), int(number), "png")
    file = await bot.get_file(rest)
    return bytes(await file.download_as_bytearray())


async def result(
    backend: BackendClient, generation: UUID, number: int, *, as_file: bool, seed: int
) -> Media:
    """Fetch a finished picture, as a photo to look at or as a lossless file."""
    if as_file:
        content = await backend.image(generation, number, "png")
        return Media("document", content, f"easel-{seed}.png")
    try:
        content = await backend.image(generation, number, "jpeg")
    except InvalidRequest:  # it has transparent parts, which only a file keeps
        return await result(backend, generation, number, as_file=True, seed=seed)
    return Media("photo", content, f"easel-{seed}.jpg")


def sent_file(message: Message) -> tuple[str, int] | None:
    """Return file id and size of a photo or of a file; None for anything else."""
    if message.photo:
        largest = message.photo[-1]
        return largest.file_id, largest.file_size or 0
    document = message.document
    return (document.file_id, document.file_size or 0) if document else None


async def is_image_file(bot: Bot, file_id: str) -> bool:
    """Return whether a file's bytes are an image: the type that an app declares may be wrong.

    Raises TelegramError.
    """
    file = await bot.get_file(file_id)
    content = bytes(await file.download_as_bytearray())
    return content.startswith(_SIGNATURES) or (content[:4], content[8:12]) == (b"RIFF", b"WEBP")
