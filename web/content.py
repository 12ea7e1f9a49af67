"""Read JSON and forms within limits: on what a body becomes, not only on its bytes.

Parsing holds the interpreter's lock, so a thread alone would keep nothing else going: what a body
may hold is bounded first, by counting.
"""

import asyncio
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

from fastapi import Request
from python_multipart.multipart import parse_options_header

from web.client import Photos
from web.errors import FieldError, InvalidRequest, TooLarge

MAX_JSON = 1_000_000
"""Largest JSON in bytes, photos not counted."""
MAX_PARTS = 40
"""Most parts in a form."""
_MAX_MARKS = 20_000
"""Most commas, colons and brackets in a JSON text: what makes it costly are its values."""
_MAX_DEPTH = 32
_MAX_PART_HEAD = 8192
"""Most bytes in the headers of a form's part."""
_AT_ONCE = 64_000
"""Bytes from which on a body is parsed in a thread."""
_PHOTO = re.compile(rb'"(?:image(?:_[1-9])?|mask)"\s*:\s*"([^"]*+)"|"(data:image\\?/[^"]*+)"')
"""A photo's base64 in the field of its name, or a data URL anywhere."""
_MAX_PHOTOS = 100
"""Most photos in a body: chats send their earlier ones again."""
_UTF = re.compile(r"(us-)?ascii|utf[-_]?(8|16|32)([-_]?[bl]e)?", re.IGNORECASE)
_JSON_TYPE = re.compile(r"(application|text)/(json|[\w.+-]+\+json)")
JSON_TYPE, FORM_TYPE = "application/json", "multipart/form-data"
_OBJECT = "a JSON object"


class UnsupportedMediaType(InvalidRequest, code="invalid_request", status=415):
    title = "A body of this type is not taken here"
    headers: ClassVar[dict[str, str]] = {"Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Part:
    """A part of a form; `is_file` if it has a file name."""

    name: str
    content: bytes
    is_file: bool

    def text(self) -> str:
        """Return the content as text. Raises InvalidRequest unless it is UTF-8."""
        try:
            return self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise _fault(self.name, "is not UTF-8", "a text in UTF-8") from error


def is_form(request: Request) -> bool:
    """Tell whether the body is a form, and not JSON. Raises UnsupportedMediaType if neither."""
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise _unsupported("Content-Encoding", coding, "a body that is not compressed")
    kind = _media_type(request)[0]
    if kind and kind != FORM_TYPE and not _JSON_TYPE.fullmatch(kind):
        raise _unsupported("Content-Type", kind, [JSON_TYPE, FORM_TYPE])
    return kind == FORM_TYPE


async def read_json(request: Request) -> dict[str, Any]:
    """Return the body's JSON object. Raises InvalidRequest or TooLarge."""
    body = await request.body()
    charset = _media_type(request)[1].get("charset", "")
    if charset and not _UTF.fullmatch(charset) and not body.isascii():
        raise _unsupported("Content-Type", f"charset={charset}", "JSON in UTF-8")
    if len(body) < _AT_ONCE:
        return parse_json(body)
    return await asyncio.to_thread(_parse_large, body)


async def read_form(request: Request) -> list[Part]:
    """Return the parts of the body, a form. Raises InvalidRequest."""
    body = await request.body()
    boundary = _media_type(request)[1].get("boundary", "").encode("latin-1")
    if not 0 < len(boundary) <= 256:
        raise _fault("Content-Type", "names no boundary", f"{FORM_TYPE}; boundary=…")
    if len(body) < _AT_ONCE:
        return _parts(body, boundary)
    return await asyncio.to_thread(_parts, body, boundary)


def parse_json(text: bytes, field: str = "body") -> dict[str, Any]:
    """Return the JSON object that `text` is; `field` names it in errors."""
    if len(text) > MAX_JSON:
        raise TooLarge.of([FieldError(field=field, message="has over 1 MB besides its photos")])
    if sum(text.count(mark) for mark in (b",", b":", b"[", b"{")) > _MAX_MARKS:
        message = f"holds too many values: over {_MAX_MARKS} commas, colons and brackets"
        raise _fault(field, message, _OBJECT)
    try:
        fields = json.loads(text, object_pairs_hook=_once_each)
    except _Repeated as error:
        raise _fault(_shown(str(error)), "is given twice", "each field once") from error
    except RecursionError as error:
        raise _fault(field, "is nested too deeply", _OBJECT) from error
    except UnicodeDecodeError as error:
        raise _fault(field, "is not valid JSON: it is not UTF-8", _OBJECT) from error
    except json.JSONDecodeError as error:
        place = f" at line {error.lineno}, column {error.colno}" if len(text) < _AT_ONCE else ""
        raise _fault(field, f"is not valid JSON: {error.msg}{place}", _OBJECT) from error
    except ValueError as error:  # Python converts no longer ones
        raise _fault(field, "holds a number of over 4300 digits", _OBJECT) from error
    if not isinstance(fields, dict):
        raise _fault(field, "must be an object", _OBJECT)
    if _depth(fields) > _MAX_DEPTH:
        raise _fault(field, f"is nested more than {_MAX_DEPTH} deep", _OBJECT)
    return fields


def _parse_large(body: bytes) -> dict[str, Any]:
    """Parse JSON that may hold photos: they stay out of what is counted and parsed."""
    pieces, photos, done = [], {}, 0
    for match in islice(_PHOTO.finditer(body), _MAX_PHOTOS):
        group = match.lastindex or 0
        if match[group].endswith(b"\\"):
            continue  # the quote belongs to the text, so that it is no photo
        stand_in = f"photo {match.start()}"
        pieces += [body[done : match.start(group)], stand_in.encode()]
        photos[stand_in] = match[group]
        done = match.end(group)
    fields = parse_json(b"".join([*pieces, body[done:]]))
    return {name: _with_photos(value, photos) for name, value in fields.items()}


def _with_photos(value: Any, photos: dict[str, bytes]) -> Any:
    """Return the value with the photos in place of their stand-ins."""
    if isinstance(value, dict):
        return {name: _with_photos(inner, photos) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_photos(inner, photos) for inner in value]
    return _text_of(photos[value]) if isinstance(value, str) and value in photos else value


def _text_of(value: bytes) -> str:
    if b"\\" not in value:
        return value.decode(errors="replace")
    try:  # some writers escape "/" and "+"
        return str(json.loads(b'"' + value + b'"', strict=False))
    except ValueError:
        return ""


class _Repeated(Exception):
    """A field is there twice; the message is its name."""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _Repeated(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return fields


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        inner = [v.values() if isinstance(v, dict) else v for v in level if _holds_values(v)]
        level = [v for values in inner for v in values]
    return depth - 1


def _holds_values(value: Any) -> bool:
    return isinstance(value, dict | list)


def _parts(body: bytes, boundary: bytes) -> list[Part]:
    first, *sections = body.split(b"\r\n--" + boundary, MAX_PARTS + 1)
    if first.startswith(b"--" + boundary):
        sections.insert(0, first[2 + len(boundary) :])
    parts: list[Part] = []
    for section in sections:
        if section.startswith(b"--"):
            return parts
        if len(parts) == MAX_PARTS:
            raise _fault("body", f"has over {MAX_PARTS} parts", FORM_TYPE)
        parts.append(_part(section))
    raise _fault("body", "is not a complete form", FORM_TYPE)


def _part(section: bytes) -> Part:
    """Read what follows a boundary: headers, an empty line, content."""
    end = section.find(b"\r\n\r\n", 0, _MAX_PART_HEAD)
    if end < 0:
        raise _fault("body", "has a part whose headers do not end", FORM_TYPE)
    for line in section[:end].split(b"\r\n"):
        header, _, value = line.partition(b":")
        if header.strip().lower() == b"content-disposition":
            _, options = parse_options_header(value.decode("latin-1"))
            if b"name" in options:
                name = options[b"name"].decode(errors="replace")
                return Part(name, section[end + 4 :], b"filename" in options)
    raise _fault("body", "has a part without a name", FORM_TYPE)


def once_each(parts: list[Part]) -> dict[str, Part]:
    """Return the parts by their names. Raises InvalidRequest if there are two of a name."""
    try:
        return _once_each([(part.name, part) for part in parts])
    except _Repeated as error:
        raise _fault(_shown(str(error)), "is given twice", "each part once") from error


def _media_type(request: Request) -> tuple[str, dict[str, str]]:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    return kind.decode("latin-1"), {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in options.items()
    }


def _shown(name: str) -> str:
    return name[:60].encode(errors="replace").decode()


def _unsupported(header: str, value: str, allowed: str | list[str]) -> UnsupportedMediaType:
    message = f"'{_shown(value)}' is not taken here"
    return UnsupportedMediaType.of([FieldError(field=header, message=message, allowed=allowed)])


def _fault(field: str, message: str, allowed: str) -> InvalidRequest:
    return InvalidRequest.of([FieldError(field=field, message=message, allowed=allowed)])


async def fingerprint(request: dict[str, Any], photos: Photos) -> str:
    """Return the SHA-256 of a request and its photos, in hexadecimal."""
    digest = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode())
    if photos:
        await asyncio.to_thread(_add_photos, digest, photos)
    return digest.hexdigest()


def _add_photos(digest: "hashlib._Hash", photos: Photos) -> None:
    if photos.keys() == {"image"}:  # as releases did that knew no other photo
        digest.update(photos["image"])
        return
    for name in sorted(photos):
        digest.update(name.encode() + hashlib.sha256(photos[name]).digest())
