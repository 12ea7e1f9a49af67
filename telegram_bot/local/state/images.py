"""Recompress photos as Telegram does: JPEG in several sizes, without metadata."""

import io
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from telegram_bot.local.errors import BadRequest

_MAX_PHOTO_BYTES = 10 * 1024 * 1024
_MAX_SIDES = 10_000
_MAX_RATIO = 20
_EDGES = (90, 320, 800, 1280, 2560)


@dataclass(frozen=True)
class Rendition:
    """One size of a photo; width and height in pixels, `data` is JPEG."""

    width: int
    height: int
    data: bytes


def photo_sizes(data: bytes, *, from_bot: bool = True) -> list[Rendition]:
    """Return a photo's sizes, smallest first; raise `BadRequest` as Telegram does.

    The limits hold for bots: a person's app shrinks a photo before it sends it.
    """
    if from_bot and len(data) > _MAX_PHOTO_BYTES:
        raise BadRequest(
            f"file of size {len(data)} bytes is too big for a photo; "
            f"the maximum size is {_MAX_PHOTO_BYTES} bytes"
        )
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            long, short = max(width, height), min(width, height)
            if long > _MAX_RATIO * short or (from_bot and long + short > _MAX_SIDES):
                raise BadRequest("PHOTO_INVALID_DIMENSIONS")
            upright = _flatten(ImageOps.exif_transpose(image))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise BadRequest("IMAGE_PROCESS_FAILED") from None
    return [_render(upright, edge) for edge in _useful_edges(max(upright.size))]


def _flatten(image: Image.Image) -> Image.Image:
    """Put a transparent image on white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _useful_edges(longest: int) -> list[int]:
    """Return the edges shorter than the image's own, and the first that holds it whole."""
    smaller = [edge for edge in _EDGES if edge < longest]
    return [*smaller, *_EDGES[len(smaller) : len(smaller) + 1]]


def _render(image: Image.Image, edge: int) -> Rendition:
    scaled = image.copy()
    scaled.thumbnail((edge, edge), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    scaled.save(out, "JPEG", quality=87)
    return Rendition(scaled.width, scaled.height, out.getvalue())
