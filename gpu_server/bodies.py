"""Read requests to draw from HTTP: JSON (photos in base64) or a form (photos as files)."""

import asyncio
import base64
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from gpu_server.pictures import uploads
from web import content, edge
from web.client import Photos
from web.content import Part
from web.errors import EaselError, FieldError, InvalidImage, InvalidRequest, TooLarge
from workflows.catalog import Catalog
from workflows.live import LiveCatalog
from workflows.parameters import InvalidValues, check, json_schema
from workflows.spec import PHOTOS

B = TypeVar("B", bound=BaseModel)

REQUEST = "request"
MAX_BODY = 30_000_000
"""Largest body in bytes: a photo of 20 MB in base64 and the request around it."""
_LARGE = 500_000
"""Characters of base64 from which on a photo is decoded in a thread: it takes milliseconds."""

_EXAMPLE_PHOTO = Path(__file__).with_name("example_photo.png")
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
        "image": base64.b64encode(_EXAMPLE_PHOTO.read_bytes()).decode(),
    },
}


async def read(request: Request, kind: type[B], catalog: Catalog) -> tuple[B, Photos]:
    """Return the request and its photos' bytes, by the names of their parameters.

    `kind` is a model with a field `mode` that keeps the mode's values as extra fields. Raises
    InvalidRequest with every fault, or InvalidImage or TooLarge if only a photo is wrong.
    """
    if content.is_form(request):
        fields = _from_parts(await content.read_form(request), kind, catalog)
    else:
        fields = await content.read_json(request)
    return await parse(fields, kind, catalog)


async def parse(fields: dict[str, Any], kind: type[B], catalog: Catalog) -> tuple[B, Photos]:
    """Check a request whose photos are in their fields, as bytes or base64; as `read`."""
    fields = {name: value for name, value in fields.items() if value is not None}
    sent = {name: fields.pop(name) for name in PHOTOS if name in fields}
    wrong_photos: list[EaselError] = []
    photos = {}
    for name, value in sent.items():
        try:
            with uploads.named(name):
                photos[name] = await _photo(value)
        except (InvalidImage, TooLarge) as error:
            wrong_photos.append(error)
    faults: list[FieldError] = []
    try:
        parsed = kind.model_validate(fields)
    except ValidationError as error:
        # `check` says more about the mode and about fields outside the envelope.
        own = kind.model_fields.keys() - {"mode", "style"}
        wrong = edge.invalid_request(error).errors
        faults = [fault for fault in wrong if fault.field.partition(".")[0] in own]
        faults += _value_faults(catalog, kind, fields, sent)
    else:
        if not wrong_photos:
            return parsed, photos
        faults = _value_faults(catalog, kind, fields, sent)
    if len(wrong_photos) == 1 and not faults:
        raise wrong_photos[0]
    named = [fault for error in wrong_photos for fault in error.errors or ()]
    raise InvalidRequest.of([*faults, *named])


def _from_parts(parts: list[Part], kind: type[BaseModel], catalog: Catalog) -> dict[str, Any]:
    """Return the request of a form. A photo is a file, its bytes without a name, or base64.

    The request is a part in JSON, or else a part for each field.
    """
    named = content.once_each(parts)
    sent = {name: named.pop(name) for name in PHOTOS if name in named}
    if REQUEST not in named:
        fields = _from_texts(named, kind, catalog)
    elif len(named) > 1:
        raise InvalidRequest.of([_beside_request(p) for p in named.values() if p.name != REQUEST])
    else:
        fields = content.parse_json(named[REQUEST].content, REQUEST)
    if twice := [name for name in sent if fields.get(name) is not None]:
        faults = [
            FieldError(field=n, message="is given twice", allowed=uploads.ALLOWED) for n in twice
        ]
        raise InvalidRequest.of(faults)
    photos = {
        name: uploads.from_form(part.content, is_file=part.is_file)
        for name, part in sent.items()
        if part.content or part.is_file
    }
    return fields | photos


def _beside_request(part: Part) -> FieldError:
    if part.is_file:
        return FieldError(field=part.name[:60], message="is not a known part", allowed=list(PHOTOS))
    message = f"is given as a part of its own besides the part `{REQUEST}`"
    allowed = f"all fields in `{REQUEST}`, or no `{REQUEST}` and each field as a part of its own"
    return FieldError(field=part.name[:60], message=message, allowed=allowed)


def _from_texts(parts: dict[str, Part], kind: type[BaseModel], catalog: Catalog) -> dict[str, Any]:
    """Return the fields that a form has as parts of their own; empty ones count as left out."""
    if sum(len(part.content) for part in parts.values()) > content.MAX_JSON:
        raise TooLarge("The fields besides the photo may have at most 1 MB")
    # No parameter but a photo is a file: checking it names it as unknown, or says what it takes.
    texts = {name: "a file" if p.is_file else p.text() for name, p in parts.items()}
    texts = {name: text for name, text in texts.items() if text.strip()}
    mode = catalog.modes.get(texts.get("mode", kind.model_fields["mode"].default))
    parameters = mode.spec.parameters if mode is not None else {}
    return {
        name: parameters[name].read(text) if name in parameters else text
        for name, text in texts.items()
    }


async def _photo(image: Any) -> bytes:
    if isinstance(image, bytes):
        return uploads.check_bytes(image)
    if isinstance(image, str) and len(image) > _LARGE:
        return await asyncio.to_thread(uploads.from_base64, image)
    return uploads.from_base64(image)


def _value_faults(
    catalog: Catalog, kind: type[BaseModel], fields: dict[str, Any], photos: Collection[str]
) -> list[FieldError]:
    named = fields.get("mode")
    mode = kind.model_fields["mode"].default if named is None else named
    own = kind.model_fields.keys() - {"style"}
    values = {name: value for name, value in fields.items() if name not in own}
    values |= dict.fromkeys(photos, True)
    try:
        check(catalog, mode, values)
    except InvalidValues as error:
        return edge.as_easel_error(error).errors
    return []


def documented(live: LiveCatalog, kind: type[BaseModel]) -> dict[str, Any]:
    """Return `openapi_extra` for a route that reads this body: a JSON Schema for each mode.

    It changes with the catalogue.
    """
    extra: dict[str, Any] = {}
    live.follow(lambda catalog: extra.update(requestBody=_described(catalog, kind)))
    return extra


def _described(catalog: Catalog, kind: type[BaseModel]) -> dict[str, Any]:
    components = _components(catalog, kind)
    references = {mode: f"#/$defs/{component}" for mode, component in components.items()}
    any_mode = {
        "title": kind.__name__,
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": "mode", "mapping": references},
    }
    each = {name: _mode_schema(catalog, kind, mode, name) for mode, name in components.items()}
    schema = {"$defs": each | {kind.__name__: any_mode}, "$ref": f"#/$defs/{kind.__name__}"}
    examples = {name: {"value": EXAMPLES[name]} for name in catalog.modes if name in EXAMPLES}
    form = {
        "type": "object",
        "description": f"The JSON of the request as the part `{REQUEST}`, or each of its fields "
        "as a part of its own; each photo as a file.",
        "properties": {
            REQUEST: {"type": "string", "contentMediaType": content.JSON_TYPE},
            "mode": {"type": "string", "enum": list(catalog.modes)},
            "prompt": {"type": "string"},
            **{
                name: {"type": "string", "format": "binary"}
                for name in PHOTOS
                if any(name in mode.photos for mode in catalog)
            },
        },
    }
    kinds = {
        content.JSON_TYPE: {"schema": schema, "examples": examples},
        content.FORM_TYPE: {"schema": form},
    }
    return {"required": True, "content": kinds}


def _components(catalog: Catalog, kind: type[BaseModel]) -> dict[str, str]:
    """Return what each mode's schema is called, such as `FreeGenerationRequest`."""
    components: dict[str, str] = {}
    for number, mode in enumerate(catalog, 1):
        words = "".join(word.capitalize() for word in re.findall("[A-Za-z0-9]+", mode.name))
        is_taken = not words or words + kind.__name__ in components.values()
        components[mode.name] = f"{words}{number if is_taken else ''}{kind.__name__}"
    return components


def _mode_schema(
    catalog: Catalog, kind: type[BaseModel], name: str, component: str
) -> dict[str, Any]:
    mode = catalog.modes[name]
    schema = json_schema(mode)
    own = kind.model_json_schema()
    envelope = own["properties"]
    envelope["mode"] = {"type": "string", "const": name}
    by_default = kind.model_fields["mode"].default == name
    return {
        **schema,
        "title": component,
        "properties": {**envelope, **schema["properties"]},
        "required": [*([] if by_default else ["mode"]), *schema["required"]],
        "$defs": own.get("$defs", {}),
    }
