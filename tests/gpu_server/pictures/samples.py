"""Image files of every kind, good and bad."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

COLOUR = (200, 30, 40)
SIZE = (64, 48)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Draw a single colour."""
    return Image.new("RGB", size, COLOUR).convert(mode)


def noise(size: tuple[int, int] = (300, 200)) -> Image.Image:
    values = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), "uint8")
    return Image.fromarray(values)


def halves(size: tuple[int, int] = SIZE) -> Image.Image:
    """Draw the upper half red and the lower half blue, to show which way is up."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (0, size[1] // 2, *size))
    return image


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    size: tuple[int, int], rows: bytes, *extra: bytes, depth: int = 8, colour_type: int = 2
) -> bytes:
    """Build a PNG by hand; `rows` are the pixels with a filter byte before each row."""
    head = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def grey_16_bit() -> bytes:
    return saved(Image.fromarray(np.full((48, 64), 200 * 256, "uint16")), "PNG")


def colour_16_bit() -> bytes:
    row = b"\0" + struct.pack(">HHH", *(value * 256 for value in COLOUR)) * SIZE[0]
    return png(SIZE, row * SIZE[1], depth=16)


def with_exif(orientation: int) -> Image.Exif:
    """Return EXIF data as a phone writes it: orientation, model and place."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "SecretPhone"
    exif.get_ifd(0x8825)[2] = (55.0, 45.0, 21.0)
    return exif


def with_much_metadata(kind: str) -> bytes:
    """Give a picture more metadata than pixels: a profile, XMP and texts of megabytes each."""
    data = saved(plain(), kind, quality=95)
    junk = np.random.default_rng(7).bytes(1_500_000)
    if kind == "JPEG":
        segments = (junk[at : at + 60_000] for at in range(0, len(junk), 60_000))
        packed = [
            b"\xff" + bytes([marker]) + struct.pack(">H", len(segment) + 2) + segment
            for segment in segments
            for marker in (0xE1, 0xE2, 0xFE)
        ]
        return data[:2] + b"".join(packed) + data[2:]
    packed = [
        chunk(b"iCCP", b"ICC\0\0" + zlib.compress(junk)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 2_000_000),
        chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 50_000_000, 9)),
    ]
    return data[:33] + b"".join(packed) + data[33:-12] + packed[2] + data[-12:]


def in_parts(kind: bytes, length: int, number: int) -> bytes:
    """Build a PNG with its pixels behind this number of chunks of a kind."""
    rows = (b"\0" + bytes(COLOUR) * SIZE[0]) * SIZE[1]
    return png(SIZE, rows, chunk(kind, bytes(length)) * number)


def with_markers(marker: bytes, number: int) -> bytes:
    """Build a JPEG with this number of short segments before its pixels."""
    data = saved(plain(), "JPEG", quality=95)
    return data[:2] + marker * number + data[2:]


def with_riff_chunks(number: int) -> bytes:
    data = saved(plain(), "WEBP", lossless=True)
    body = data[8:] + b"junk\0\0\0\0" * number
    return b"RIFF" + struct.pack("<I", len(body)) + body


def animated(kind: str) -> bytes:
    return saved(plain(), kind, save_all=True, append_images=[halves()], duration=100)


def truncated(kind: str) -> bytes:
    data = saved(noise(), kind)
    return data[: len(data) // 2]


def declared(width: int, height: int) -> bytes:
    """Build a PNG of a few bytes that claims this size."""
    return png((width, height), b"\0" * 1000)


def webp_canvas(width: int, height: int) -> bytes:
    """Build a WebP header that claims this size."""
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + sides + b"ALPH"
    return b"RIFF" + struct.pack("<I", len(body)) + body


def drawn_over_again(times: int) -> bytes:
    """Build a progressive JPEG that repeats its last scan."""
    data = saved(plain(), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * times + data[-2:]


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><script/></svg>'

GOOD: dict[str, bytes] = {
    "png": saved(plain(), "PNG"),
    "jpeg": saved(plain(), "JPEG", quality=95),
    "webp": saved(plain(), "WEBP", lossless=True),
    "grey": saved(plain("L"), "PNG"),
    "black and white": saved(plain("1"), "PNG"),
    "palette": saved(plain("P"), "PNG"),
    "cmyk": saved(plain("CMYK"), "JPEG", quality=95),
    "16-bit grey": grey_16_bit(),
    "16-bit colour": colour_16_bit(),
    "a phone's, with a second picture": saved(
        plain(), "MPO", save_all=True, append_images=[halves()], quality=95
    ),
    "a phone's, with a film behind it": saved(plain(), "JPEG", quality=95) + b"\xff\xda\0\2" * 500,
    "progressive": saved(plain(), "JPEG", quality=95, progressive=True),
    "png with much metadata": with_much_metadata("PNG"),
    "jpeg with much metadata": with_much_metadata("JPEG"),
    "16 MB of nothing before its pixels": with_markers(b"\0" * 16_000_000, 1),
    "pixels in many parts": in_parts(b"IDAT", 0, 10_000),
    "transparent palette": saved(plain("P"), "PNG", transparency=bytes(256)),
    "grey and alpha": saved(plain("LA"), "PNG"),
    "webp with exif": saved(plain(), "WEBP", lossless=True, exif=with_exif(1)),
    "with a script behind it": saved(plain(), "PNG") + b"<script>alert(1)</script>",
}

BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "text": (b"hello", "is not a PNG, JPEG or WebP image"),
    "truncated png": (truncated("PNG"), "is damaged or cut off"),
    "truncated jpeg": (truncated("JPEG"), "is damaged or cut off"),
    "truncated webp": (truncated("WEBP"), "is damaged or cut off"),
    "no palette": (png(SIZE, (b"\0" * 65) * 48, colour_type=3), "is damaged or cut off"),
    "only a head": (saved(noise(), "PNG")[:40], "is not a PNG, JPEG or WebP image"),
    "bomb": (declared(50_000, 50_000), "has over 40 megapixels"),
    "largest png": (declared(2**31 - 1, 2**31 - 1), "has over 40 megapixels"),
    "41 megapixels": (declared(8200, 5000), "has 8200 × 5000 pixels"),
    "webp bomb": (webp_canvas(16_383, 16_383), "has over 40 megapixels"),
    "scan bomb": (drawn_over_again(100_000), "has over 64 scans"),
    "marker bomb": (with_markers(b"\xff\xfe\0\2", 4_000_000), "has over 2000 markers"),
    "empty chunks": (in_parts(b"tEXt", 0, 1_500_000), "has over 20000 chunks"),
    "pixels in too many parts": (in_parts(b"IDAT", 0, 1_500_000), "has over 20000 chunks"),
    "webp chunks": (with_riff_chunks(2_000_000), "has over 20000 chunks"),
    "strip": (saved(plain(size=(1, 3000)), "PNG"), "is only 1 × 3000 pixels"),
    "dot": (saved(plain(size=(15, 15)), "PNG"), "is only 15 × 15 pixels"),
    "animated png": (animated("PNG"), "is animated"),
    "animated webp": (animated("WEBP"), "is animated"),
    "gif": (saved(plain(), "GIF"), "is not a PNG, JPEG or WebP image"),
    "animated gif": (animated("GIF"), "is not a PNG, JPEG or WebP image"),
    "tiff": (saved(plain(), "TIFF"), "is not a PNG, JPEG or WebP image"),
    "bmp": (saved(plain(), "BMP"), "is not a PNG, JPEG or WebP image"),
    "ppm": (saved(plain(), "PPM"), "is not a PNG, JPEG or WebP image"),
    "svg": (SVG, "is not a PNG, JPEG or WebP image"),
    "ico": (saved(plain(), "ICO"), "is not a PNG, JPEG or WebP image"),
}


def photo() -> bytes:
    """Return a JPEG of 300 × 200 pixels."""
    return saved(Image.linear_gradient("L").resize((300, 200)).convert("RGB"), "JPEG")


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.tobytes()
