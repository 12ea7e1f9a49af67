"""Turn pixels into files: PNG, JPEG or WebP with Easel's metadata and no other."""

import io
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageChops, ImageOps, PngImagePlugin, UnidentifiedImageError

from gpu_server.pictures.formats import ImageFormat

JPEG_QUALITY = 92
WEBP_QUALITY = 90
PNG_LEVEL = 1
"""zlib's fastest level takes a third of the time of ComfyUI's 4 for a fifth more bytes."""


class BadPixels(ValueError):
    """ComfyUI's output is not an image."""


@dataclass(frozen=True)
class Encoded:
    data: bytes
    width: int
    height: int


class NoTransparency(ValueError):
    """The format cannot keep the transparent parts of an image."""


def open_pixels(data: bytes, *, alpha: bool = False) -> Image.Image:
    """Decode an output file (PPM from our node, else PNG) to RGB, or RGBA. Raises BadPixels."""
    try:
        with Image.open(io.BytesIO(data), formats=("PPM", "PNG")) as image:
            return image.convert("RGBA" if alpha else "RGB")
    except (
        *(UnidentifiedImageError, Image.DecompressionBombError),
        *(OSError, ValueError, SyntaxError),
    ) as error:
        raise BadPixels("the output is not a complete image") from error


def encode(
    image: Image.Image, image_format: ImageFormat, software: str, xmp: bytes = b""
) -> Encoded:
    """Encode an image. The same pixels always give the same bytes; releases the GIL.

    Its metadata names the software and holds the XMP packet, but neither prompt nor graph.
    """
    buffer = io.BytesIO()
    image.save(buffer, image_format.upper(), **_options(image_format, software, xmp))
    return Encoded(buffer.getvalue(), image.width, image.height)


def _options(image_format: ImageFormat, software: str, xmp: bytes) -> dict[str, Any]:
    if image_format == "png":
        info = PngImagePlugin.PngInfo()
        info.add_text("Software", software)
        if xmp:  # for PNG Pillow ignores its option `xmp`
            info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return {"compress_level": PNG_LEVEL, "pnginfo": info}
    exif = Image.Exif()
    exif[0x0131] = software
    metadata = {"exif": exif, "xmp": xmp} if xmp else {"exif": exif}
    if image_format == "jpeg":
        return {"quality": JPEG_QUALITY, **metadata}
    return {"quality": WEBP_QUALITY, "method": 2, **metadata}


def as_format(data: bytes, image_format: ImageFormat, software: str, xmp: bytes = b"") -> bytes:
    """Convert one of our files to another format; the result is not signed.

    Raises NoTransparency if the format would lose the transparent parts.
    """
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
        is_clear = image.has_transparency_data
        if is_clear and image_format == "jpeg":
            raise NoTransparency
        return encode(
            image.convert("RGBA" if is_clear else "RGB"), image_format, software, xmp
        ).data


def fit_photo(photo: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scale the photo to `size` (width, height), cropped evenly to that shape."""
    return ImageOps.fit(photo, size, Image.Resampling.LANCZOS)


def within(image: Image.Image, pixels: int) -> Image.Image:
    """Scale an image down, in its proportions, to at most so many pixels."""
    scale = (pixels / (image.width * image.height)) ** 0.5
    if scale >= 1:
        return image
    size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def as_cut_out(mask: Image.Image) -> Image.Image:
    """Return a mask (`L`) as ComfyUI's nodes read it from any channel.

    White, and transparent, where the mask is 255: `LoadImage` takes what is transparent as its
    mask, and so does `LoadImageMask` from alpha; from a colour it takes what is white.
    """
    return Image.merge("RGBA", (mask, mask, mask, ImageChops.invert(mask)))


def as_png(image: Image.Image) -> bytes:
    """Encode a plain PNG for upload to ComfyUI."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()
