"""Check a caller's values against a mode's parameters and report every fault at once."""

import difflib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from workflows.catalog import Catalog, Mode
from workflows.spec import Parameter, ParameterType, Scalar

_UNWANTED = "negative_prompt"
MAX_UNKNOWN = 20
"""How many unknown fields an answer names at most: a body may hold millions."""
NO_CLEAR_JPEG = "cannot keep the transparent parts of this picture"
CLEAR_FORMATS = ["png", "webp"]
FREE_SEEDS = 2**32
"""Chosen seeds are below this: short enough to read aloud and retype."""


@dataclass(frozen=True)
class Fault:
    """One fault in one field; `allowed` says what the field takes."""

    field: str
    message: str
    allowed: str | list[str] | None = None


class InvalidValues(ValueError):
    """A caller's values have faults; carries all of them."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{f.field}: {f.message}" for f in faults))
        self.faults = faults


class Request(BaseModel):
    """What to draw: a mode, a style, and the values of the mode's parameters as further fields.

    The bot, the backend and the GPU server send and keep subclasses of it. It arrives unchecked;
    `complete` makes it ready for rendering. Sizes may stay absent: they then follow the style or
    the photo. A photo's bytes travel beside it.
    """

    model_config = ConfigDict(extra="allow", frozen=True, hide_input_in_errors=True)

    mode: str = "free"
    style: str = Field("", exclude_if=lambda style: not style)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None}

    @property
    def values(self) -> dict[str, Any]:
        """The values of the mode's parameters."""
        return self.model_extra or {}

    @property
    def seed(self) -> int:
        return int(self.values.get("seed", 0))

    @property
    def count(self) -> int:
        return int(self.values.get("count", 1))

    @property
    def wanted_words(self) -> str:
        """Every text that describes the image, whatever the mode calls the parameter."""
        texts = {name: value for name, value in self.values.items() if isinstance(value, str)}
        return "\n".join(text for name, text in texts.items() if name != _UNWANTED)

    @property
    def unwanted_words(self) -> str:
        return str(self.values.get(_UNWANTED, ""))


R = TypeVar("R", bound=Request)


def complete(request: R, catalog: Catalog, *, photos: Collection[str] = ()) -> R:
    """Check a request that comes with these photos, fill in defaults, choose a seed.

    Raises InvalidValues with every fault.
    """
    values = {**request.values, **dict.fromkeys(photos, True)}
    if request.style:
        values["style"] = request.style
    checked = check(catalog, request.mode, values)
    is_clear = catalog.modes[request.mode].graph_spec(checked.style).alpha
    if is_clear and getattr(request, "format", "") == "jpeg":
        raise InvalidValues([Fault("format", NO_CLEAR_JPEG, CLEAR_FORMATS)])
    return request.model_copy(update={"style": checked.style, **checked.values})


def check(catalog: Catalog, mode: str, values: Mapping[str, Any]) -> Request:
    """Build the request for `mode`: fill in defaults, choose a seed; may raise InvalidValues.

    Null counts as left out. A photo is only checked for presence, since its bytes travel
    separately.
    """
    chosen = catalog.modes.get(mode) if isinstance(mode, str) else None
    if chosen is None:
        raise InvalidValues([_unknown("mode", mode, catalog.modes)])
    present = {name: value for name, value in values.items() if value is not None}
    faults: list[Fault] = []
    style = present.pop("style", chosen.spec.default_style)
    checked = _check_values(chosen, present, faults)
    if not isinstance(style, str) or style not in chosen.styles:
        faults.append(_unknown("style", style, chosen.styles))
    elif not any(fault.field in ("width", "height") for fault in faults):
        faults += _check_size(chosen, style, checked)
    if faults:
        raise InvalidValues(faults)
    return Request(mode=mode, style=style, **checked)


def _check_values(mode: Mode, present: Mapping[str, Any], faults: list[Fault]) -> dict[str, Scalar]:
    parameters = mode.spec.parameters
    checked: dict[str, Scalar] = {}
    unknown = [name for name in present if name not in parameters]
    for name in unknown[:MAX_UNKNOWN]:
        faults.append(_unknown(name, name, [*parameters, "style"], what="field"))
    if len(unknown) > MAX_UNKNOWN:
        more = f"has {len(unknown) - MAX_UNKNOWN} more unknown fields"
        faults.append(Fault("body", more, [*parameters, "style"]))
    for name, parameter in parameters.items():
        default = secrets.randbelow(FREE_SEEDS) if parameter.type == "seed" else parameter.default
        value = present.get(name, default)
        fault = "is required" if value is None and parameter.required else None
        if name in present:
            fault = parameter.fault_in(value)
        if fault is not None:
            faults.append(Fault(name, fault, parameter.allowed()))
        elif value is not None and not parameter.is_photo:
            checked[name] = float(value) if parameter.type == "number" else value
    return checked


def json_schema(mode: Mode) -> dict[str, Any]:
    """Describe a mode's values, style included, as JSON Schema (2020-12)."""
    style = {"type": "string", "enum": list(mode.styles), "default": mode.spec.default_style}
    parameters = {name: _property(parameter) for name, parameter in mode.spec.parameters.items()}
    properties = {"style": style, **parameters}
    required = [name for name, p in mode.spec.parameters.items() if p.required]
    sides = {"width", "height"} & properties.keys()
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "dependentRequired": {side: sorted(sides - {side}) for side in sorted(sides)},
        "additionalProperties": False,
    }


_JSON_TYPES: dict[ParameterType, str] = {
    **dict.fromkeys(("text", "choice", "image", "mask"), "string"),
    **dict.fromkeys(("integer", "seed"), "integer"),
    "number": "number",
    "boolean": "boolean",
}


def _property(parameter: Parameter) -> dict[str, Any]:
    low, high = parameter.bounds()
    kind = _JSON_TYPES[parameter.type]
    whole = kind == "integer"
    schema: dict[str, Any] = {
        "type": kind,
        "title": parameter.title.en,
        "description": parameter.description.en if parameter.description else None,
        "default": parameter.default,
        "minimum": int(low) if whole and low is not None else low,
        "maximum": int(high) if whole and high is not None else high,
        "multipleOf": parameter.multiple_of,
        "minLength": 1
        if kind == "string" and parameter.required and not parameter.values
        else None,
        "maxLength": parameter.max_length,
        "enum": parameter.values or None,
        "contentEncoding": "base64" if parameter.is_photo else None,
    }
    return {key: value for key, value in schema.items() if value is not None}


def _check_size(mode: Mode, style: str, values: Mapping[str, Scalar]) -> list[Fault]:
    """Require both sides or neither, and at most twice the pixels of the model's own sizes."""
    sides = [name for name in ("width", "height") if name in values]
    if not sides:
        return []
    sizes = mode.graph_spec(style).sizes
    suitable = [f"{width}x{height}" for width, height in sizes.values()]
    if len(sides) == 1:
        missing = "height" if sides == ["width"] else "width"
        return [Fault(missing, f"is required together with {sides[0]}", suitable or None)]
    if not sizes:  # the style ignores them
        return []
    most = 2 * max(width * height for width, height in sizes.values())
    if int(values["width"]) * int(values["height"]) > most:
        return [Fault("width", f"times height is over {most} pixels", suitable)]
    return []


def _unknown(field: str, value: Any, names: Collection[str], what: str = "") -> Fault:
    if not isinstance(value, str):
        return Fault(field, "must be a text", sorted(names))
    shown = _shown(value)
    near = difflib.get_close_matches(shown, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    message = f"is not a known {what}{hint}" if what else f"'{shown}' is not known{hint}"
    return Fault(_shown(field), message, sorted(names))


def _shown(text: str) -> str:
    """Make a caller's text fit for an answer: short and without lone surrogates."""
    return text[:60].encode(errors="replace").decode()
