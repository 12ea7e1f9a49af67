"""Photos from outside: decoded under limits and redrawn, so that only their pixels are used.

Only PNG, JPEG and WebP are decoded; too many pixels are refused before decompression; EXIF rotation
is applied; metadata, alpha, palettes, CMYK and 16-bit depth do not survive.
"""

import base64
import binascii
import io
import re

from PIL import Image, ImageOps, UnidentifiedImageError

from web.errors import FieldError, InvalidImage, TooLarge

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 20_000_000
MAX_PIXELS = 40_000_000
MAX_SCANS = 64
"""Most scans in a JPEG; cameras and programs write about ten at most."""
ALLOWED = "a PNG, JPEG or WebP image of at most 20 MB and 40 megapixels, not animated"

_PART = 1 << 20
"""Characters of base64 decoded at once; other threads run in between."""
_JPEG_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")  # markers with a length, and the end
_SCAN, _END = b"\xda", b"\xd9"
_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)


def refuse(message: str, field: str = "image") -> InvalidImage:
    """Return the error for an image that cannot be used, naming its field."""
    return InvalidImage(
        f"{field}: {message}",
        errors=[FieldError(field=field, message=message, allowed=ALLOWED)],
    )


def from_base64(text: object, field: str = "image") -> bytes:
    """Decode a base64 text or data URL; white space is allowed.

    Raises:
        InvalidImage: It is not base64, or empty.
        TooLarge: It has over MAX_BYTES.
    """
    if not isinstance(text, str):
        raise refuse("must be a base64 text or data URL", field)
    match = _DATA_URL.match(text[:200])
    data, rest = bytearray(), ""
    try:
        for at in range(match.end() if match else 0, len(text), _PART):
            packed = rest + "".join(text[at : at + _PART].split())
            whole = max(len(packed) - 1, 0) // 4 * 4  # the last four may be padded
            if "=" in packed[:whole]:
                raise refuse("is not valid base64", field)
            data += _unpacked(packed[:whole])
            rest = packed[whole:]
            if len(data) > MAX_BYTES:
                raise _too_large(field)
        data += _unpacked(rest + "=" * (-len(rest) % 4))
    except (binascii.Error, ValueError) as error:
        raise refuse("is not valid base64", field) from error
    return check_bytes(bytes(data), field)


def _unpacked(packed: str) -> bytes:
    altchars = b"-_" if "-" in packed or "_" in packed else None
    return base64.b64decode(packed, altchars=altchars, validate=True)


def check_bytes(data: bytes, field: str = "image") -> bytes:
    """Return `data` if it has 1 to MAX_BYTES bytes. Raises InvalidImage or TooLarge."""
    if not data:
        raise refuse("is empty", field)
    if len(data) > MAX_BYTES:
        raise _too_large(field)
    return data


def decode(data: bytes, field: str = "image") -> Image.Image:
    """Decode to upright RGB; transparent parts become white.

    Takes up to a second for 40 megapixels: call it in a thread.

    Raises:
        InvalidImage: It is not a usable PNG, JPEG or WebP.
        TooLarge: It has over MAX_BYTES.
    """
    check_bytes(data, field)
    try:
        return _decode(data, field)
    except Image.DecompressionBombError as error:
        raise refuse("has over 40 megapixels", field) from error
    except UnidentifiedImageError as error:
        raise refuse("is not a PNG, JPEG or WebP image", field) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as error:
        raise refuse("is damaged or cut off", field) from error


def _decode(data: bytes, field: str) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise refuse(f"has {image.width} × {image.height} pixels", field)
        if min(image.size) < 16:
            raise refuse(f"is only {image.width} × {image.height} pixels", field)
        if image.format in ("JPEG", "MPO") and _scans(data) > MAX_SCANS:
            raise refuse(f"has over {MAX_SCANS} scans", field)
        # Phones append further images to a JPEG (format MPO): the first is the photo.
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise refuse("is animated", field)
        image.load()
        upright = ImageOps.exif_transpose(image)
        return _as_rgb(upright)


def _scans(data: bytes) -> int:
    """Count a JPEG's scans up to the limit: 60 bytes can ask for one, which may take a second."""
    scans, at = 0, 2
    while scans <= MAX_SCANS and (marker := _JPEG_MARKER.search(data, at)) and marker[1] != _END:
        scans += marker[1] == _SCAN
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return scans


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        ground = Image.new("RGBA", layered.size, "white")
        image = Image.alpha_composite(ground, layered)
    plain = Image.new("RGB", image.size)
    plain.paste(image.convert("RGB"))
    return plain


def _too_large(field: str) -> TooLarge:
    message = "has over 20 MB"
    return TooLarge(
        f"{field}: {message}",
        errors=[FieldError(field=field, message=message, allowed=ALLOWED)],
    )
