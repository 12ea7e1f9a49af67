"""Answers that are images: format, ETag, ranges."""

import asyncio
import hashlib
import re
from datetime import UTC, datetime

from fastapi import Request, Response
from starlette.datastructures import Headers

from backend.service import GenerationService
from backend.storage.generations import GenerationRow
from gpu_server.pictures import encoding
from gpu_server.pictures.formats import ImageFormat, media_type
from gpu_server.pictures.provenance import Origin, Signer, xmp_packet
from gpu_server.schemas import SKETCH
from web import VERSION, errors
from workflows.parameters import CLEAR_FORMATS, NO_CLEAR_JPEG

ANY_FILE = "application/octet-stream"
"""An image by the only name of a file that some generators of clients know."""
_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"[^"]*"')


class PreconditionFailed(errors.Conflict, code="conflict", status=412):
    title = "The image is not the one that If-Match names"


async def image_response(
    service: GenerationService,
    row: GenerationRow,
    number: int,
    wanted: ImageFormat,
    request: Request,
) -> Response:
    """Answer with image `number` in the format `wanted`. Raises NotFound."""
    data = await service.image(row, number)
    converted = wanted != row.request.format
    # Each conversion is signed anew and differs in its bytes: hence a weak tag and no ranges.
    weak, suffix = ("W/", wanted.encode()) if converted else ("", b"")
    tag = f'{weak}"{hashlib.sha256(data + suffix).hexdigest()[:32]}"'
    headers = {
        "ETag": tag,
        "Accept-Ranges": "none" if converted else "bytes",
        "Cache-Control": "private, max-age=3600",
        "Vary": "Accept",
        "X-Generation-ID": str(row.public_id),
        "X-Seed": str(row.request.seed + number),
    }
    conditions = request.headers if request.method == "GET" else Headers()
    if not _matches(conditions.get("if-match", "*"), tag, weakly=False):
        raise PreconditionFailed
    if _matches(conditions.get("if-none-match", ""), tag, weakly=True):
        return Response(status_code=304, headers=headers)
    kind = media_type(wanted)
    if converted:
        data = await asyncio.to_thread(_convert, service.signer, row, data, wanted)
    # A resumed download of another image, or one named by date, must start anew.
    is_same = conditions.get("if-range", tag).strip() == tag
    if converted or "range" not in conditions or not is_same:
        return Response(data, media_type=kind, headers=headers)
    return _range_response(data, conditions["range"], kind, headers)


def _matches(wanted: str, tag: str, *, weakly: bool) -> bool:
    """Tell whether a list of tags has `tag` (RFC 9110, section 8.8.3.2), or is `*`."""
    if wanted.strip() == "*":
        return True
    if weakly:
        return tag.removeprefix("W/") in {w.removeprefix("W/") for w in _TAG.findall(wanted)}
    return not tag.startswith("W/") and tag in _TAG.findall(wanted)


def _range_response(data: bytes, ranges: str, kind: str, headers: dict[str, str]) -> Response:
    """Answer with one range (RFC 9110, section 14), or with the whole if several are requested."""
    match = _RANGE.fullmatch(ranges.strip())
    first, last = match.groups() if match else ("", "")
    is_backwards = bool(first and last) and int(last) < int(first)
    if not (first or last) or is_backwards:
        return Response(data, media_type=kind, headers=headers)
    size = len(data)
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last), size - 1) + 1 if first and last else size
    if start >= size or stop <= start:
        headers["Content-Range"] = f"bytes */{size}"
        return Response(status_code=416, headers=headers)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Response(data[start:stop], 206, media_type=kind, headers=headers)


def _convert(signer: Signer, row: GenerationRow, data: bytes, wanted: ImageFormat) -> bytes:
    """Convert an image, marked and signed like the original. Blocks for some 10 to 200 ms."""
    engine = row.outcome.engine if row.outcome else ""
    is_ai = not engine.startswith(SKETCH)
    origin = Origin(
        row.request.mode,
        row.request.style,
        row.model if is_ai else engine,
        ai=is_ai,
        created=datetime.fromtimestamp(row.created, UTC),
    )
    software = f"Easel {VERSION} ({engine})"
    try:
        converted = encoding.as_format(data, wanted, software, xmp_packet(origin))
    except encoding.NoTransparency as error:
        fault = errors.FieldError(field="format", message=NO_CLEAR_JPEG, allowed=CLEAR_FORMATS)
        raise errors.InvalidRequest.of([fault]) from error
    return signer.sign(converted, media_type(wanted), origin)
