"""A caller's values against a mode's parameters: every fault at once, each with what is allowed."""

import difflib
import math
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from workflows.catalog import SEED_MAX, Catalog, Mode, Parameter, Scalar

_MISSING = "is required"
FREE_SEEDS = 2**32
"""Seeds are chosen below this: short enough to read out and type in again."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with one field; `allowed` says what would be right."""

    field: str
    message: str
    allowed: str | list[str] | None = None


class InvalidValues(ValueError):
    """Raised with every fault found."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{f.field}: {f.message}" for f in faults))
        self.faults = faults


@dataclass(frozen=True)
class Request:
    """What to draw, complete and checked: the input of rendering.

    `values` has every parameter of the mode that was given or has a default; sizes may be absent
    and then follow the style (or the photo).
    """

    mode: str
    style: str
    values: Mapping[str, Scalar]

    @property
    def seed(self) -> int:
        return int(self.values.get("seed", 0))

    @property
    def count(self) -> int:
        return int(self.values.get("count", 1))


def check(catalog: Catalog, mode: str, given: Mapping[str, Any]) -> Request:
    """The request for `mode` with defaults filled in and a seed chosen; raises InvalidValues.

    A parameter that is null counts as left out. An image parameter is only checked for presence:
    its bytes travel beside the values.
    """
    found = catalog.modes.get(mode)
    if found is None:
        raise InvalidValues([_unknown("mode", mode, catalog.modes)])
    given = {name: value for name, value in given.items() if value is not None}
    faults: list[Fault] = []
    style = given.pop("style", found.spec.default_style)
    if style not in found.styles:
        faults.append(_unknown("style", style, found.styles))
    values = _check_values(found, given, faults)
    if not faults:
        faults += _check_size(found, style, values)
    if faults:
        raise InvalidValues(faults)
    return Request(mode, style, values)


def _check_values(mode: Mode, given: Mapping[str, Any], faults: list[Fault]) -> dict[str, Scalar]:
    parameters = mode.spec.parameters
    values: dict[str, Scalar] = {}
    for name in given:
        if name not in parameters:
            faults.append(_unknown(name, name, [*parameters, "style"], what="field"))
    for name, parameter in parameters.items():
        value = given.get(name, _left_out(parameter))
        fault = _MISSING if value is None and parameter.required else None
        if name in given:
            fault = fault_in(parameter, value)
        if fault is not None:
            faults.append(Fault(name, fault, allowed(parameter)))
        elif value is not None and parameter.type != "image":
            values[name] = float(value) if parameter.type == "number" else value
    return values


def _left_out(parameter: Parameter) -> Scalar | None:
    return secrets.randbelow(FREE_SEEDS) if parameter.type == "seed" else parameter.default


def fault_in(parameter: Parameter, value: Any) -> str | None:
    """What is wrong with `value`, in words, or None."""
    match parameter.type:
        case "text":
            return _fault_in_text(parameter, value)
        case "image":
            return None
        case "number":
            if isinstance(value, bool) or not isinstance(value, int | float):
                return "must be a number"
            if not math.isfinite(value):
                return "must be a finite number"
        case "integer" | "seed":
            if isinstance(value, bool) or not isinstance(value, int):
                return "must be a whole number"
    low, high = bounds(parameter)
    if (low is not None and value < low) or (high is not None and value > high):
        return "is out of range"
    if parameter.multiple_of and value % parameter.multiple_of:
        return f"must be a multiple of {parameter.multiple_of}"
    return None


def _fault_in_text(parameter: Parameter, value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be a text"
    if parameter.required and not value.strip():
        return "is empty"
    if parameter.max_length is not None and len(value) > parameter.max_length:
        return f"has {len(value)} characters"
    if any((ord(c) < 32 and c not in "\t\n\r") or 0xD800 <= ord(c) <= 0xDFFF for c in value):
        return "holds control characters"
    return None


def bounds(parameter: Parameter) -> tuple[float | None, float | None]:
    if parameter.type == "seed":
        return 0, SEED_MAX
    return parameter.minimum, parameter.maximum


def allowed(parameter: Parameter) -> str:
    """What a parameter takes, in words."""
    if parameter.type == "text":
        least = "1" if parameter.required else "0"
        return f"{least} to {parameter.max_length} characters"
    if parameter.type == "image":
        return "a PNG, JPEG or WebP image"
    low, high = bounds(parameter)
    kind = "a number" if parameter.type == "number" else "a whole number"
    text = f"{kind} from {low:g} to {high:.0f}" if high and high > 1e6 else f"{kind}"
    if low is not None and high is not None and high <= 1e6:
        text += f" from {low:g} to {high:g}"
    return text + (f", a multiple of {parameter.multiple_of}" if parameter.multiple_of else "")


def json_schema(mode: Mode) -> dict[str, Any]:
    """JSON Schema (2020-12) of a mode's values, style included."""
    properties: dict[str, Any] = {
        "style": {
            "type": "string",
            "enum": list(mode.styles),
            "default": mode.spec.default_style,
        }
    }
    for name, parameter in mode.spec.parameters.items():
        properties[name] = _property(parameter)
    required = [name for name, p in mode.spec.parameters.items() if p.required]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _property(parameter: Parameter) -> dict[str, Any]:
    low, high = bounds(parameter)
    kind = {"text": "string", "image": "string", "number": "number"}.get(parameter.type, "integer")
    whole = kind == "integer"
    schema: dict[str, Any] = {
        "type": kind,
        "title": parameter.title.en,
        "description": parameter.description.en if parameter.description else None,
        "default": parameter.default,
        "minimum": int(low) if whole and low is not None else low,
        "maximum": int(high) if whole and high is not None else high,
        "multipleOf": parameter.multiple_of,
        "minLength": 1 if kind == "string" and parameter.required else None,
        "maxLength": parameter.max_length,
        "contentEncoding": "base64" if parameter.type == "image" else None,
    }
    return {key: value for key, value in schema.items() if value is not None}


def _check_size(mode: Mode, style: str, values: Mapping[str, Scalar]) -> list[Fault]:
    """Both sides or none, and no more pixels than twice the model's own."""
    given = [name for name in ("width", "height") if name in values]
    if not given:
        return []
    sizes = mode.graph_spec(style).sizes
    own = [f"{width}x{height}" for width, height in sizes.values()]
    if len(given) == 1:
        missing = "height" if given == ["width"] else "width"
        return [Fault(missing, f"is required together with {given[0]}", own)]
    most = 2 * max(width * height for width, height in sizes.values())
    if int(values["width"]) * int(values["height"]) > most:
        return [Fault("width", f"times height is over {most} pixels", own)]
    return []


def _unknown(field: str, value: Any, names: Collection[str], what: str = "") -> Fault:
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    shown = str(value)[:60]
    message = f"is not a known {what}{hint}" if what else f"'{shown}' is not known{hint}"
    return Fault(field[:60], message, sorted(names))
