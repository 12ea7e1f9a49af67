"""Photos from outside: decoded under limits and redrawn, so that only their pixels are used.

Only PNG, JPEG and WebP are decoded; too many pixels are refused before decompression; EXIF rotation
is applied; metadata, alpha, palettes, CMYK and 16-bit depth do not survive.
"""

import base64
import binascii
import io
import re

from PIL import Image, ImageOps, UnidentifiedImageError

from web.errors import EaselError, FieldError, InvalidImage, TooLarge

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


def _refused(message: str, error: type[EaselError] = InvalidImage) -> EaselError:
    fault = FieldError(field="image", message=message, allowed=ALLOWED)
    return error(f"image: {message}", errors=[fault])


def from_base64(text: object) -> bytes:
    """Decode a base64 text or data URL; white space is allowed.

    Raises InvalidImage if it is not base64 or is empty, TooLarge if it has over MAX_BYTES.
    """
    if not isinstance(text, str):
        raise _refused("must be a base64 text or data URL")
    match = _DATA_URL.match(text[:200])
    data, rest = bytearray(), ""
    try:
        for at in range(match.end() if match else 0, len(text), _PART):
            packed = rest + "".join(text[at : at + _PART].split())
            whole = max(len(packed) - 1, 0) // 4 * 4  # the last four may be padded
            if "=" in packed[:whole]:
                raise _refused("is not valid base64")
            data += _unpacked(packed[:whole])
            rest = packed[whole:]
            if len(data) > MAX_BYTES:
                raise _refused("has over 20 MB", TooLarge)
        data += _unpacked(rest + "=" * (-len(rest) % 4))
    except (binascii.Error, ValueError) as error:
        raise _refused("is not valid base64") from error
    return check_bytes(bytes(data))


def _unpacked(packed: str) -> bytes:
    altchars = b"-_" if "-" in packed or "_" in packed else None
    return base64.b64decode(packed, altchars=altchars, validate=True)


def check_bytes(data: bytes) -> bytes:
    """Return `data` if it has 1 to MAX_BYTES bytes. Raises InvalidImage or TooLarge."""
    if not data:
        raise _refused("is empty")
    if len(data) > MAX_BYTES:
        raise _refused("has over 20 MB", TooLarge)
    return data


def decode(data: bytes) -> Image.Image:
    """Decode to upright RGB; transparent parts become white.

    Takes up to a second for 40 megapixels: call it in a thread. Raises InvalidImage if it is not a
    usable PNG, JPEG or WebP, TooLarge if it has over MAX_BYTES.
    """
    check_bytes(data)
    try:
        return _decode(data)
    except Image.DecompressionBombError as error:
        raise _refused("has over 40 megapixels") from error
    except UnidentifiedImageError as error:
        raise _refused("is not a PNG, JPEG or WebP image") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as error:
        raise _refused("is damaged or cut off") from error


def _decode(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise _refused(f"has {image.width} × {image.height} pixels")
        if min(image.size) < 16:
            raise _refused(f"is only {image.width} × {image.height} pixels")
        if image.format in ("JPEG", "MPO") and _scans(data) > MAX_SCANS:
            raise _refused(f"has over {MAX_SCANS} scans")
        # Phones append further images to a JPEG (format MPO): the first is the photo.
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise _refused("is animated")
        image.load()
        return _as_rgb(ImageOps.exif_transpose(image))


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
