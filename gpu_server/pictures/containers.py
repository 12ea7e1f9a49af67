"""Take a photo's file apart: what makes up its pixels, and which way up it was held. Pure.

Metadata is left out and the rest is counted before Pillow sees it: Pillow reads each marker and
chunk in Python, unpacks profiles and texts, and refuses a picture for the size of either.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PARTS = 20_000
"""Most chunks in a PNG or WebP; libpng writes 2500 into 20 MB."""
MAX_MARKERS = 2_000
"""Most markers in a JPEG; profiles, previews and depth maps fill some hundred in 20 MB."""
MAX_SCANS = 64
"""Most scans in a JPEG; cameras and programs write about ten at most."""

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"IEND")
_LARGEST_KEPT = 70_000
"""Bytes of the largest chunk that is kept besides the pixels, and of metadata that is looked at."""
_JPEG_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")  # markers with a length, and the end
_SCAN, _END, _ADOBE, _APP1 = 0xDA, 0xD9, 0xEE, 0xE1
_METADATA = {*range(0xE0, 0xF0), 0xFE} - {_ADOBE}  # Adobe's tells CMYK and YCCK apart
_EXIF = b"Exif\0\0"
_XMP = (b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp\0")
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=\"|>)([1-8])")


class TooManyParts(ValueError):
    """The file has so many parts that reading it costs too much; the message says which."""


@dataclass(frozen=True)
class Photo:
    """A file without metadata, its format as Pillow calls it, and its EXIF orientation, 1 to 8."""

    data: bytes
    format: str
    orientation: int


def take_apart(data: bytes) -> Photo | None:
    """Return the photo in a PNG, JPEG or WebP, else None. Raises TooManyParts.

    Damage is left for the decoder to find.
    """
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return None


def _png(data: bytes) -> Photo:
    """Keep what makes up the pixels, its data joined into one chunk."""
    kept: dict[bytes, bytes] = {}
    pixels: list[memoryview] = []
    orientation = 0
    for kind, start, end in _chunks(data, len(_PNG), ">I4s", 4):
        if kind == b"IDAT":
            pixels.append(memoryview(data)[start:end])
        elif end - start > _LARGEST_KEPT:
            continue
        elif kind in _PNG_KEPT:
            kept.setdefault(kind, data[start - 8 : end + 4])
        elif kind == b"eXIf":
            orientation = orientation or _orientation(data[start:end])
        elif kind == b"iTXt" and data.startswith(_XMP[1], start):
            orientation = orientation or _xmp_orientation(data[start:end])
        if kind == b"IEND":
            break
    body = b"".join([b"IDAT", *pixels])
    joined = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    order = [kept.get(kind, b"") for kind in _PNG_KEPT]
    order.insert(-1, joined if pixels else b"")
    return Photo(b"".join([_PNG, *order]), "PNG", orientation or 1)


def _webp(data: bytes) -> Photo:
    orientation = 0
    for kind, start, end in _chunks(data, 12, "<4sI", 0):
        if kind == b"EXIF" and end - start <= _LARGEST_KEPT:
            orientation = orientation or _orientation(data[start:end].removeprefix(_EXIF))
    return Photo(data, "WEBP", orientation or 1)


def _chunks(data: bytes, at: int, head: str, tail: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's kind and where its content starts and ends."""
    number = 0
    while at + 8 <= len(data):
        number += 1
        if number > MAX_PARTS:
            raise TooManyParts(f"has over {MAX_PARTS} chunks")
        first, second = struct.unpack_from(head, data, at)
        kind, length = (second, first) if isinstance(first, int) else (first, second)
        yield kind, at + 8, min(at + 8 + length, len(data))
        at += 8 + length + tail
        if not tail:  # RIFF pads to an even length
            at += length & 1


def _jpeg(data: bytes) -> Photo:
    kept = [b"\xff\xd8"]
    orientation = scans = 0
    rest = len(data)  # from the first scan on the decoder reads for itself
    for marker, start, end in _markers(data):
        if marker == _SCAN:
            rest = min(rest, start)
            scans += 1
            if scans > MAX_SCANS:
                raise TooManyParts(f"has over {MAX_SCANS} scans")
        elif scans == 0 and marker not in _METADATA:
            kept.append(data[start:end])
        elif scans == 0 and marker == _APP1:
            orientation = orientation or _jpeg_orientation(data[start + 4 : end])
    return Photo(b"".join([*kept, memoryview(data)[rest:]]), "JPEG", orientation or 1)


def _markers(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield each marker and where its segment starts and ends, up to the end of the image."""
    number, at = 0, 2
    while (found := _JPEG_MARKER.search(data, at)) and found[1][0] != _END:
        number += 1
        if number > MAX_MARKERS:
            raise TooManyParts(f"has over {MAX_MARKERS} markers")
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
        yield found[1][0], found.start(), at


def _jpeg_orientation(segment: bytes) -> int:
    if segment.startswith(_EXIF):
        return _orientation(segment[len(_EXIF) :])
    return _xmp_orientation(segment) if segment.startswith(_XMP[0]) else 0


def _xmp_orientation(packet: bytes) -> int:
    found = _XMP_ORIENTATION.search(packet)
    return int(found[1]) if found else 0


def _orientation(exif: bytes) -> int:
    """Return EXIF's orientation, 1 to 8, or 0: read by hand, since entries may repeat the file."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return 0
    (directory,) = struct.unpack_from(order + "I", exif, 4)
    if directory + 2 > len(exif):
        return 0
    (entries,) = struct.unpack_from(order + "H", exif, directory)
    for at in range(directory + 2, min(directory + 2 + 12 * entries, len(exif) - 11), 12):
        tag, kind, number, value = struct.unpack_from(order + "HHIH", exif, at)
        if (tag, kind, number) == (0x0112, 3, 1):
            return value if 1 <= value <= 8 else 0
    return 0
