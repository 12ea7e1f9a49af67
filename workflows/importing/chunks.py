"""Read the texts that an image carries beside its pixels, without decoding it."""

import struct
import zlib
from collections.abc import Iterator

from workflows.importing.types import LARGEST_FILE, refusal

PNG = b"\x89PNG\r\n\x1a\n"
_ASCII = 2
_TIFF = {b"II*\0": "<", b"MM\0*": ">"}


def is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def texts_in_png(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield keyword and text of every whole tEXt, zTXt and iTXt chunk; broken ones are skipped."""
    at, total = len(PNG), 0
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        checksum = data[at + 8 + size : at + 12 + size]
        at += 12 + size
        if kind in (b"tEXt", b"zTXt", b"iTXt") and checksum == _checksum(kind + body):
            keyword, _, rest = body.partition(b"\0")
            text = _text(kind, rest, LARGEST_FILE - total)
            if text is not None:
                total += len(text)
                yield keyword.decode("latin-1"), text


def _checksum(chunk: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(chunk))


def _text(kind: bytes, rest: bytes, limit: int) -> bytes | None:
    if kind == b"tEXt":
        return rest
    packed = kind == b"zTXt" or rest[:1] == b"\1"
    if kind == b"zTXt":
        body = rest[1:]
    else:  # flag, method, then language and translated keyword, each ended by a zero
        parts = rest[2:].split(b"\0", 2)
        if len(parts) < 3:
            return None
        body = parts[2]
    return _unpacked(body, limit) if packed else body


def _unpacked(body: bytes, limit: int) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(body, max(limit, 1))
    except zlib.error:
        return None
    if unpacker.unconsumed_tail:
        raise refusal(f"its texts unpack to more than {LARGEST_FILE >> 20} MB")
    return text if unpacker.eof else None


def texts_in_webp(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield keyword and text of every `keyword:text` in the EXIF of a WebP."""
    at = 12
    while at + 8 <= len(data):
        kind, (size,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        if kind == b"EXIF":
            body = data[at + 8 : at + 8 + size].removeprefix(b"Exif\0\0")
            for text in _exif_texts(body):
                keyword, colon, value = text.partition(b":")
                if colon:
                    yield keyword.decode("latin-1").strip().lower(), value
        at += 8 + size + size % 2


def _exif_texts(data: bytes) -> Iterator[bytes]:
    order = _TIFF.get(data[:4])
    if order is None or len(data) < 8:
        return
    (start,) = struct.unpack_from(order + "I", data, 4)
    if start + 2 > len(data):
        return
    (count,) = struct.unpack_from(order + "H", data, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(data) - 11), 12):
        _, kind, size, place = struct.unpack_from(order + "HHII", data, at)
        if kind == _ASCII and place + size <= len(data):
            yield data[place : place + size].rstrip(b"\0")
