"""Where pictures come from: Telegram's files and the backend's results."""

from uuid import UUID

from telegram import Bot, Message

from backend.client import BackendClient
from telegram_bot.messages.view import Media

LARGEST_BYTES = 20 * 1024 * 1024
"""What Telegram lets a bot download."""


def from_file(file_id: str) -> str:
    return f"file:{file_id}"


def from_generation(generation: UUID, number: int) -> str:
    return f"made:{generation}:{number}"


async def fetch(bot: Bot, backend: BackendClient, source: str) -> bytes:
    """The bytes of a photo; raises TelegramError or EaselError."""
    kind, _, rest = source.partition(":")
    if kind == "made":
        generation, _, number = rest.partition(":")
        return await backend.image(UUID(generation), int(number), "png")
    file = await bot.get_file(rest)
    return bytes(await file.download_as_bytearray())


async def result(
    backend: BackendClient, generation: UUID, number: int, *, as_file: bool, seed: int
) -> Media:
    """A finished picture: to look at, or losslessly as a file."""
    if as_file:
        content = await backend.image(generation, number, "png")
        return Media("document", content, f"easel-{seed}.png")
    return Media("photo", await backend.image(generation, number, "jpeg"), f"easel-{seed}.jpg")


def sent_photo(message: Message) -> tuple[str, int] | None:
    """The file id and bytes of a photo, or of an image sent as a file; None for anything else."""
    if message.photo:
        largest = message.photo[-1]
        return largest.file_id, largest.file_size or 0
    document = message.document
    if document and (document.mime_type or "").startswith("image/"):
        return document.file_id, document.file_size or 0
    return None
