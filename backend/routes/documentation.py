"""The request bodies as they appear in `/openapi.json`: from the catalogue, mode by mode."""

from typing import Any

from backend.schemas import GenerationRequest
from workflows.catalog import Catalog
from workflows.parameters import json_schema

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


def request_body(catalog: Catalog) -> dict[str, Any]:
    """`openapi_extra` for the routes that take a generation."""
    schema = {
        "oneOf": [_mode_schema(catalog, mode.name) for mode in catalog],
        "discriminator": {"propertyName": "mode"},
    }
    examples = {name: {"value": example} for name, example in EXAMPLES.items()}
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


def _mode_schema(catalog: Catalog, name: str) -> dict[str, Any]:
    mode = catalog.modes[name]
    schema = json_schema(mode)
    envelope = GenerationRequest.model_json_schema()["properties"]
    envelope["mode"] = {"type": "string", "const": name}
    return {
        **schema,
        "title": name,
        "properties": {**envelope, **schema["properties"]},
        "required": ["mode", *schema["required"]],
    }
