"""The OpenAPI document of a service, as generators of clients need it.

Routes describe bodies and answers with plain JSON Schema; what stands in a schema's `$defs` becomes
a component, so that a generator makes one type of it wherever it is used.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import TypeAdapter

from web import errors
from web.errors import InvalidRequest, Problem

Responses = dict[int | str, dict[str, Any]]
KEY = HTTPBearer(
    scheme_name="key", auto_error=False, description="An API key, where the service has keys."
)
OPTIONAL_KEY: dict[str, Any] = {"security": [{}]}
"""`openapi_extra` of a route that says more to callers with a key."""
_COMPONENTS = "#/components/schemas/"
_DEFS = "#/$defs/"
_BINARY = {"type": "string", "format": "binary"}
_TEXT = {"type": "string"}
_OWN = ("HTTPValidationError", "ValidationError")
"""FastAPI's description of errors, which no service answers with."""


def operation_id(route: APIRoute) -> str:
    """Return the name of a route's function: what its function in a generated client is called."""
    return route.name


def options(tags: Mapping[str, str], public_url: str = "") -> dict[str, Any]:
    """Return FastAPI's options that describe a service with these tags: name → description.

    `public_url` is where it is reached from outside, if that is known.
    """
    here = {"url": "/", "description": "The server that this document comes from"}
    public = {"url": public_url, "description": "Its public address"}
    contact = {"name": "Whoever runs this server"}
    return {
        "openapi_tags": [{"name": name, "description": text} for name, text in tags.items()],
        "servers": [public, here] if public_url else [here],
        "contact": contact | ({"url": public_url} if public_url else {}),
        "license_info": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        "generate_unique_id_function": operation_id,
    }


def binary(media_types: Iterable[str]) -> dict[str, Any]:
    """Return the `content` of an answer that is one of these files."""
    return {kind: {"schema": _BINARY} for kind in media_types}


def text(media_type: str) -> dict[str, Any]:
    """Return the `content` of an answer that is a text."""
    return {media_type: {"schema": _TEXT}}


def events(name: str, data: Any, description: str) -> dict[str, Any]:
    """Return the `content` of an event stream.

    OpenAPI 3.1 cannot describe single events. Of the generators, some take the schema for that of
    an event's data, others for that of the whole text: it allows both.

    Args:
        name: What the component is called that describes an event's data.
        data: The type of the data, usually a union of models.
        description: Which event has which data.
    """
    schema = TypeAdapter(data).json_schema(mode="serialization")
    defs = schema.pop("$defs", {})
    defs[name] = {"title": name, "description": description, **schema}
    either = {"$defs": defs, "anyOf": [{"$ref": _DEFS + name}, _TEXT]}
    return {"text/event-stream": {"schema": either}}


def renew(app: FastAPI) -> None:
    """Have the document built again when it is asked for: what it describes has changed."""
    app.openapi_schema = None


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document, which is built once until `renew`."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
            servers=app.servers,
            contact=app.contact,
            license_info=app.license_info,
        )
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        for name in _OWN:
            components.pop(name, None)
        for operation in _operations(schema):
            operation.setdefault("security", [])
            _correct_validation(operation)
            operation["responses"].pop("405", None)  # the method is there
        problem = Problem.model_json_schema()
        hoisted = _hoist({"$defs": {"Problem": problem}, "paths": schema["paths"]}, components)
        app.openapi_schema = {**schema, "paths": hoisted["paths"]}
    return app.openapi_schema


def _operations(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in schema["paths"].values():
        yield from path.values()


def _correct_validation(operation: dict[str, Any]) -> None:
    """Describe FastAPI's 422 as the problem that it is here, or a 400 where there is one."""
    responses = operation["responses"]
    if "application/json" not in responses.get("422", {}).get("content", {}):
        return
    del responses["422"]
    if "400" not in responses:
        responses["422"] = errors.documented(InvalidRequest)[422]
    operation["responses"] = dict(sorted(responses.items()))


def _hoist(node: Any, components: dict[str, Any]) -> Any:
    """Return `node` without `$defs`: these become components, and references follow them."""
    if isinstance(node, list):
        return [_hoist(item, components) for item in node]
    if isinstance(node, str):
        return _COMPONENTS + node.removeprefix(_DEFS) if node.startswith(_DEFS) else node
    if not isinstance(node, dict):
        return node
    for name, schema in node.get("$defs", {}).items():
        components.setdefault(name, _hoist(schema, components))
    return {key: _hoist(value, components) for key, value in node.items() if key != "$defs"}
