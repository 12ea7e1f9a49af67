"""Read requests to draw from HTTP: JSON (photo in base64) or a form (photo as a file)."""

import asyncio
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from gpu_server.pictures import uploads
from web import content, edge
from web.content import Part
from web.errors import EaselError, FieldError, InvalidImage, InvalidRequest, TooLarge
from workflows.catalog import Catalog
from workflows.parameters import InvalidValues, check, json_schema

B = TypeVar("B", bound=BaseModel)

PARTS = ["image", "request"]
MAX_BODY = 30_000_000
"""Largest body in bytes: a photo of 20 MB in base64 and the request around it."""
_LARGE = 500_000
"""Characters of base64 from which on a photo is decoded in a thread: it takes milliseconds."""

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
    """Return the request and its photo's bytes.

    `kind` is a model with a field `mode` that keeps the mode's values as extra fields. Raises
    InvalidRequest with every fault, or InvalidImage or TooLarge if only the photo is wrong.
    """
    if content.is_form(request):
        fields, image = _from_parts(await content.read_form(request))
    else:
        fields = await content.read_json(request)
        image = fields.pop("image", None)
    return await parse(fields, image, kind, catalog)


async def parse(
    fields: dict[str, Any], image: Any, kind: type[B], catalog: Catalog
) -> tuple[B, bytes | None]:
    """Check a request and its photo (bytes or base64); as `read`."""
    wrong_photo: EaselError | None = None
    photo = None
    try:
        photo = await _photo(image)
    except (InvalidImage, TooLarge) as error:
        wrong_photo = error
    faults: list[FieldError] = []
    try:
        parsed = kind.model_validate(fields)
    except ValidationError as error:
        # `check` says more about the mode and about fields outside the envelope.
        own = kind.model_fields.keys() - {"mode", "style"}
        faults = [fault for fault in edge.invalid_request(error).errors if fault.field in own]
        faults += _value_faults(catalog, kind, fields, has_image=image is not None)
    else:
        if wrong_photo is None:
            return parsed, photo
        faults = _value_faults(catalog, kind, fields, has_image=True)
    if wrong_photo is not None and not faults:
        raise wrong_photo
    raise InvalidRequest.of([*faults, *(wrong_photo.errors if wrong_photo else [])])


def _from_parts(parts: list[Part]) -> tuple[dict[str, Any], str | bytes | None]:
    """Return the request of a form and its photo: a file, its bytes without a name, or base64."""
    named = content.once_each(parts)
    faults = [
        FieldError(field=name[:60], message="is not a known part", allowed=PARTS)
        for name in named
        if name not in PARTS
    ]
    if "request" not in named:
        faults.append(FieldError(field="request", message="is required", allowed="a JSON object"))
    if faults:
        raise InvalidRequest.of(faults)
    fields = content.parse_json(named["request"].content, "request")
    image = named.get("image")
    if image is not None and fields.get("image") is not None:
        fault = FieldError(field="image", message="is given twice", allowed=uploads.ALLOWED)
        raise InvalidRequest.of([fault])
    inline = fields.pop("image", None)
    if image is None:
        return fields, inline
    return fields, uploads.from_form(image.content, is_file=image.is_file)


async def _photo(image: Any) -> bytes | None:
    if image is None:
        return None
    if isinstance(image, bytes):
        return uploads.check_bytes(image)
    if isinstance(image, str) and len(image) > _LARGE:
        return await asyncio.to_thread(uploads.from_base64, image)
    return uploads.from_base64(image)


def _value_faults(
    catalog: Catalog, kind: type[BaseModel], fields: dict[str, Any], *, has_image: bool
) -> list[FieldError]:
    named = fields.get("mode")
    mode = kind.model_fields["mode"].default if named is None else named
    own = kind.model_fields.keys() - {"style"}
    values = {name: value for name, value in fields.items() if name not in own}
    if has_image:
        values["image"] = True
    try:
        check(catalog, mode, values)
    except InvalidValues as error:
        return edge.as_easel_error(error).errors
    return []


def documented(catalog: Catalog, kind: type[BaseModel]) -> dict[str, Any]:
    """Return `openapi_extra` for a route that reads this body: a JSON Schema for each mode."""
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
    kinds = {
        content.JSON_TYPE: {"schema": schema, "examples": examples},
        content.FORM_TYPE: {"schema": form},
    }
    return {"requestBody": {"required": True, "content": kinds}}


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
