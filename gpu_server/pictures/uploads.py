"""Photos from outside: decoded under limits and redrawn, so that only their pixels are used.

Only PNG, JPEG and WebP are decoded; too many pixels are refused before decompression; EXIF rotation
is applied; metadata, alpha, palettes, CMYK and 16-bit depth do not survive.
"""

import base64
import binascii
import io
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from PIL import Image, ImageChops, UnidentifiedImageError

from gpu_server.pictures import containers
from gpu_server.pictures.containers import Photo
from web.errors import EaselError, FieldError, InvalidImage, TooLarge

MAX_BYTES = 20_000_000
MAX_TOGETHER = 28_000_000
"""Most bytes of all photos of a request: they go on to a pod in one body."""
MAX_PIXELS = 40_000_000
ALLOWED = "a PNG, JPEG or WebP image of at most 20 MB and 40 megapixels, not animated"

_PART = 1 << 20
"""Characters of base64 decoded at once; other threads run in between."""
_MAGIC = (b"\x89PNG", b"\xff\xd8", b"RIFF")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of each EXIF orientation upright."""
_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)


def _refused(message: str, error: type[EaselError] = InvalidImage) -> EaselError:
    return error.of([FieldError(field="image", message=message, allowed=ALLOWED)])


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


def from_form(part: bytes, *, is_file: bool) -> bytes | str:
    """Return a form's photo: its bytes, or the base64 text that it is."""
    if is_file or part.startswith(_MAGIC):
        return part
    return part.decode(errors="replace")


def check_bytes(data: bytes) -> bytes:
    """Return `data` if it has 1 to MAX_BYTES bytes. Raises InvalidImage or TooLarge."""
    if not data:
        raise _refused("is empty")
    if len(data) > MAX_BYTES:
        raise _refused("has over 20 MB", TooLarge)
    return data


def check_together(photos: Collection[bytes]) -> None:
    """Raise TooLarge if these photos are too much for one request."""
    if sum(map(len, photos)) > MAX_TOGETHER:
        raise TooLarge("The photos of a request may have at most 28 MB together")


def decode(data: bytes) -> Image.Image:
    """Decode to upright RGB; transparent parts become white.

    Takes up to a second for 40 megapixels: call it in a thread. Raises InvalidImage if it is not a
    usable PNG, JPEG or WebP, TooLarge if it has over MAX_BYTES.
    """
    return _decoded(data, _as_rgb)


def decode_mask(data: bytes) -> Image.Image:
    """Decode to an upright mask (`L`): 255 where the image is transparent, or else is white.

    Raises as `decode` does.
    """
    return _decoded(data, _as_mask)


@contextmanager
def named(name: str) -> Iterator[None]:
    """Let the errors of this module speak of the photo by the name of its parameter."""
    try:
        yield
    except (InvalidImage, TooLarge) as error:
        faults = [fault.model_copy(update={"field": name}) for fault in error.errors or ()]
        raise type(error).of(faults) from error


def _decoded(data: bytes, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    check_bytes(data)
    try:
        photo = containers.take_apart(data)
        if photo is None:
            raise _refused("is not a PNG, JPEG or WebP image")
        return convert(_upright(photo))
    except containers.TooManyParts as error:
        raise _refused(str(error)) from error
    except Image.DecompressionBombError as error:
        raise _refused("has over 40 megapixels") from error
    except UnidentifiedImageError as error:
        raise _refused("is not a PNG, JPEG or WebP image") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as error:
        raise _refused("is damaged or cut off") from error


def _upright(photo: Photo) -> Image.Image:
    with Image.open(io.BytesIO(photo.data), formats=(photo.format,)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise _refused(f"has {image.width} × {image.height} pixels")
        if min(image.size) < 16:
            raise _refused(f"is only {image.width} × {image.height} pixels")
        if getattr(image, "n_frames", 1) > 1:
            raise _refused("is animated")
        image.load()
        if image.mode == "P" and image.palette is None:  # else Pillow asserts that there is one
            raise _refused("is damaged or cut off")
        turn = _TURNS.get(photo.orientation)
        return image if turn is None else image.transpose(turn)


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


def _as_mask(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):  # else nothing is cut out, so that white says where
            return ImageChops.invert(alpha)
    return _as_rgb(image).convert("L")
