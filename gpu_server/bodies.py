"""What to draw, as it comes over HTTP: JSON (photo in base64) or a form (photo as a file)."""

import asyncio
import json
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile

from gpu_server.pictures import uploads
from web import edge
from web.errors import EaselError, FieldError, InvalidImage, InvalidRequest, TooLarge
from workflows.catalog import Catalog
from workflows.parameters import InvalidValues, check, json_schema

B = TypeVar("B", bound=BaseModel)

PARTS = ["image", "request"]
MAX_REQUEST = 1_000_000
"""Bytes of the JSON in a form at most."""
LARGE = 500_000
"""Characters of base64 that take some milliseconds to decode: in a thread, to block nobody."""

EXAMPLES = {
    "free": {
        "mode": "free",
        "prompt": "a red fox in fresh snow, morning light",
        "style": "realism",
        "seed": 42,
        "width": 1024,
        "height": 1024,
        "count": 1,
        "format": "png",
    },
    "restyle": {
        "mode": "restyle",
        "style": "anime",
        "strength": 0.7,
        "image": "iVBORw0KGgo… (base64 or a data URL)",
    },
}


async def read(request: Request, kind: type[B], catalog: Catalog) -> tuple[B, bytes | None]:
    """The request and its photo's bytes.

    `kind` has a field `mode` and keeps the values of the mode as further fields. Raises
    InvalidRequest with every fault there is, InvalidImage or TooLarge when only the photo is wrong.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        async with request.form(max_files=2, max_fields=2, max_part_size=MAX_REQUEST) as form:
            given, image = await _parts(form)
    else:
        given = _parse(await request.body(), "body")
        image = given.pop("image", None)
    wrong_photo: EaselError | None = None
    photo = None
    try:
        photo = await _photo(image)
    except (InvalidImage, TooLarge) as error:
        wrong_photo = error
    faults: list[FieldError] = []
    try:
        asked = kind.model_validate(given)
    except ValidationError as error:
        # `check` tells more of the mode, and of what is no field of the envelope.
        own = kind.model_fields.keys() - {"mode", "style"}
        faults = [fault for fault in edge.invalid_request(error).errors if fault.field in own]
        faults += _value_faults(catalog, kind, given, has_image=image is not None)
    else:
        if wrong_photo is None:
            return asked, photo
        faults = _value_faults(catalog, kind, given, has_image=True)
    if wrong_photo is not None and not faults:
        raise wrong_photo
    raise InvalidRequest.of([*faults, *(wrong_photo.errors if wrong_photo else [])])


async def _parts(form: FormData) -> tuple[dict[str, Any], str | bytes | None]:
    """The request of a form and its photo, a file or base64."""
    faults = [
        FieldError(field=name[:60], message="is not a known part", allowed=PARTS)
        for name in form
        if name not in PARTS
    ]
    if "request" not in form:
        faults.append(FieldError(field="request", message="is required", allowed="a JSON object"))
    if faults:
        raise InvalidRequest.of(faults)
    given = _parse(await _content(form["request"]), "request")
    image = form.get("image")
    if image is not None and given.get("image") is not None:
        fault = FieldError(field="image", message="is given twice", allowed=uploads.ALLOWED)
        raise InvalidRequest.of([fault])
    kept = given.pop("image", None)
    return given, kept if image is None else await _content(image)


async def _content(part: UploadFile | str) -> str | bytes:
    return await part.read() if isinstance(part, UploadFile) else part


def _parse(text: str | bytes, field: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        fault = FieldError(field=field, message="is not valid JSON", allowed="a JSON object")
        raise InvalidRequest.of([fault]) from error
    if not isinstance(given, dict):
        fault = FieldError(field=field, message="must be an object", allowed="a JSON object")
        raise InvalidRequest.of([fault])
    return given


async def _photo(image: Any) -> bytes | None:
    if image is None:
        return None
    if isinstance(image, bytes):
        return uploads.check_bytes(image)
    if isinstance(image, str) and len(image) > LARGE:
        return await asyncio.to_thread(uploads.from_base64, image)
    return uploads.from_base64(image)


def _value_faults(
    catalog: Catalog, kind: type[BaseModel], given: dict[str, Any], *, has_image: bool
) -> list[FieldError]:
    mode = given.get("mode", kind.model_fields["mode"].default)
    own = kind.model_fields.keys() - {"style"}
    values = {name: value for name, value in given.items() if name not in own}
    if has_image:
        values["image"] = True
    try:
        check(catalog, mode, values)
    except InvalidValues as error:
        return edge.as_easel_error(error).errors
    return []


def documented(catalog: Catalog, kind: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads this: the catalogue's JSON Schema, mode by mode."""
    schema = {
        "oneOf": [_mode_schema(catalog, kind, mode.name) for mode in catalog],
        "discriminator": {"propertyName": "mode"},
    }
    examples = {name: {"value": EXAMPLES[name]} for name in catalog.modes if name in EXAMPLES}
    form = {
        "type": "object",
        "properties": {
            "request": {"type": "string", "contentMediaType": "application/json"},
            "image": {"type": "string", "format": "binary"},
        },
        "required": ["request"],
    }
    content = {
        "application/json": {"schema": schema, "examples": examples},
        "multipart/form-data": {"schema": form},
    }
    return {"requestBody": {"required": True, "content": content}}


def _mode_schema(catalog: Catalog, kind: type[BaseModel], name: str) -> dict[str, Any]:
    mode = catalog.modes[name]
    schema = json_schema(mode)
    envelope = kind.model_json_schema()["properties"]
    envelope["mode"] = {"type": "string", "const": name}
    by_default = kind.model_fields["mode"].default == name
    return {
        **schema,
        "title": name,
        "properties": {**envelope, **schema["properties"]},
        "required": [*([] if by_default else ["mode"]), *schema["required"]],
    }
