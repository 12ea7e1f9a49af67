"""Photos as Telegram makes them: recompressed to JPEG, without metadata, in several sizes."""

import io
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from telegram_bot.local.errors import BadRequestError

MAX_PHOTO_BYTES = 10 * 1024 * 1024
MAX_SIDES = 10_000
MAX_RATIO = 20
_EDGES = (90, 320, 800, 1280, 2560)


@dataclass(frozen=True)
class Rendition:
    """One size of a photo; width and height in pixels, `data` is JPEG."""

    width: int
    height: int
    data: bytes


def photo_sizes(data: bytes, *, from_bot: bool = True) -> list[Rendition]:
    """The sizes of a photo, smallest first; raises `BadRequestError` as Telegram does.

    The limits hold for bots: a person's app makes a photo smaller before it sends it.
    """
    if from_bot and len(data) > MAX_PHOTO_BYTES:
        raise BadRequestError(
            f"file of size {len(data)} bytes is too big for a photo; "
            f"the maximum size is {MAX_PHOTO_BYTES} bytes"
        )
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            long, short = max(width, height), min(width, height)
            if long > MAX_RATIO * short or (from_bot and long + short > MAX_SIDES):
                raise BadRequestError("PHOTO_INVALID_DIMENSIONS")
            upright = _flat(ImageOps.exif_transpose(image))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise BadRequestError("IMAGE_PROCESS_FAILED") from None
    return [_rendition(upright, edge) for edge in _useful(max(upright.size))]


def _flat(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _useful(longest: int) -> list[int]:
    """The edges below the picture's own, and the first that holds it whole."""
    smaller = [edge for edge in _EDGES if edge < longest]
    return [*smaller, *_EDGES[len(smaller) : len(smaller) + 1]]


def _rendition(image: Image.Image, edge: int) -> Rendition:
    scaled = image.copy()
    scaled.thumbnail((edge, edge), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    scaled.save(out, "JPEG", quality=87)
    return Rendition(scaled.width, scaled.height, out.getvalue())
