"""Read the bodies of OpenAI's Images API: JSON, and forms with photos."""

import asyncio
import re
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from backend.openai.requests import ImageRequest
from gpu_server.pictures import uploads
from web import content, edge
from web.content import Part
from web.errors import FieldError, InvalidRequest, TooLarge

B = TypeVar("B", bound=BaseModel)
_IMAGE = re.compile(r"images?(\[\d{0,3}\])?")
"""How programs name the files: `image`, and of several `image[]`, `image[0]`, `images[]` …"""
_MAX_IMAGES = 16
_FILES = ("mask", "markup")
_SENT = "a data URL (data:image/png;base64,…)"


async def read_generation(request: Request) -> ImageRequest:
    if content.is_form(request):
        fault = FieldError(field="body", message="is a form", allowed=content.JSON_TYPE)
        raise InvalidRequest.of([fault])
    fields = await content.read_json(request)
    faults = [
        FieldError(field=name, message="photos are taken by POST /v1/images/edits")
        for name in ("image", "images")
        if fields.get(name) is not None
    ]
    if faults:
        raise InvalidRequest.of(faults)
    return validated(ImageRequest, fields)


Edit = tuple[ImageRequest, list[bytes], bytes | None]
"""A request with its photos, and the mask."""


async def read_edit(request: Request) -> Edit:
    if content.is_form(request):
        fields, photos = await _from_form(await content.read_form(request))
    else:
        fields = await content.read_json(request)
        photos = await _from_json(fields)
    sent = fields.get("mask")
    if isinstance(sent, bytes):
        fields["mask"] = "a file"
    with uploads.named("mask"):
        mask = None if sent is None else await photo_in(sent, "mask")
    return validated(ImageRequest, fields), photos, mask


def validated(kind: type[B], fields: dict[str, Any]) -> B:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise edge.invalid_request(error) from error


async def _from_form(parts: list[Part]) -> tuple[dict[str, Any], list[bytes]]:
    images = [part for part in parts if _IMAGE.fullmatch(part.name)]
    fields = content.once_each([part for part in parts if part not in images])
    faults = [
        FieldError(field=name[:60], message="is not a known file", allowed=["image", *_FILES])
        for name, part in fields.items()
        if part.is_file and name not in _FILES
    ]
    if faults:
        raise InvalidRequest.of(faults)
    if sum(len(part.content) for part in fields.values() if not part.is_file) > content.MAX_JSON:
        raise TooLarge("The fields besides the images may have at most 1 MB")
    texts: dict[str, Any] = {
        name: "a file" if name in _FILES else part.text()
        for name, part in fields.items()
        if part.content
    }
    if "mask" in texts:
        mask = fields["mask"]
        texts["mask"] = uploads.from_form(mask.content, is_file=mask.is_file)
    photos = []
    for part in images:
        photo = uploads.from_form(part.content, is_file=part.is_file)
        photos.append(await photo_in(photo, part.name))
    return texts, photos


async def _from_json(fields: dict[str, Any]) -> list[bytes]:
    """Take the photos out of the fields: `images`, or `image` as in a form."""
    photos = []
    for name in ("image", "images"):
        sent = fields.pop(name, None)
        several = sent if isinstance(sent, list) else [] if sent is None else [sent]
        if len(several) > _MAX_IMAGES:
            fault = FieldError(field=name, message="are too many", allowed=f"{_MAX_IMAGES} at most")
            raise InvalidRequest.of([fault])
        photos += [await photo_in(one, f"{name}[{at}]") for at, one in enumerate(several)]
    return photos


async def photo_in(sent: Any, field: str) -> bytes:
    """Return the photo that was sent, not merely named: nothing is fetched from elsewhere."""
    if isinstance(sent, bytes):
        return uploads.check_bytes(sent)
    if isinstance(sent, dict):
        if sent.get("file_id") is not None:
            raise _not_sent(f"{field}.file_id", "no files are kept here")
        sent, field = sent.get("image_url"), f"{field}.image_url"
        sent = sent.get("url") if isinstance(sent, dict) else sent
    if not isinstance(sent, str) or not sent:
        raise _not_sent(field, "holds no photo")
    if re.match(r"\w{2,10}://", sent):
        raise _not_sent(field, "addresses are not fetched; send the photo itself")
    return await asyncio.to_thread(uploads.from_base64, sent)


def _not_sent(field: str, message: str) -> InvalidRequest:
    return InvalidRequest.of([FieldError(field=field[:60], message=message, allowed=_SENT)])
