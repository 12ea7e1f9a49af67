"""A caller's values against a mode's parameters: every fault at once, each with what is allowed."""

import difflib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from workflows.catalog import Catalog, Mode
from workflows.spec import Parameter, Scalar

_MISSING = "is required"
_UNWANTED = "negative_prompt"
MAX_UNKNOWN = 20
"""Unknown fields named in an answer at most: a body may hold millions."""
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
        own = cls.model_fields.keys() - {"style"}
        return {name: value for name, value in data.items() if value is not None or name in own}

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
        """All that is said of the picture in words, whatever the mode calls its parameters."""
        texts = {name: value for name, value in self.values.items() if isinstance(value, str)}
        return "\n".join(text for name, text in texts.items() if name != _UNWANTED)

    @property
    def unwanted_words(self) -> str:
        return str(self.values.get(_UNWANTED, ""))


R = TypeVar("R", bound=Request)


def complete(request: R, catalog: Catalog, *, has_image: bool = False) -> R:
    """Check a request against its mode; fill in defaults and choose a seed.

    Raises:
        InvalidValues: with every fault found.
    """
    given = dict(request.values)
    if request.style:
        given["style"] = request.style
    if has_image:
        given["image"] = True
    checked = check(catalog, request.mode, given)
    return request.model_copy(update={"style": checked.style, **checked.values})


def check(catalog: Catalog, mode: str, given: Mapping[str, Any]) -> Request:
    """The request for `mode` with defaults filled in and a seed chosen; raises InvalidValues.

    A parameter that is null counts as left out. An image parameter is only checked for presence:
    its bytes travel beside the values.
    """
    found = catalog.modes.get(mode) if isinstance(mode, str) else None
    if found is None:
        raise InvalidValues([_unknown("mode", mode, catalog.modes)])
    given = {name: value for name, value in given.items() if value is not None}
    faults: list[Fault] = []
    style = given.pop("style", found.spec.default_style)
    values = _check_values(found, given, faults)
    if not isinstance(style, str) or style not in found.styles:
        faults.append(_unknown("style", style, found.styles))
    elif not any(fault.field in ("width", "height") for fault in faults):
        faults += _check_size(found, style, values)
    if faults:
        raise InvalidValues(faults)
    return Request(mode=mode, style=style, **values)


def _check_values(mode: Mode, given: Mapping[str, Any], faults: list[Fault]) -> dict[str, Scalar]:
    parameters = mode.spec.parameters
    values: dict[str, Scalar] = {}
    unknown = [name for name in given if name not in parameters]
    for name in unknown[:MAX_UNKNOWN]:
        faults.append(_unknown(name, name, [*parameters, "style"], what="field"))
    for name, parameter in parameters.items():
        value = given.get(name, _left_out(parameter))
        fault = _MISSING if value is None and parameter.required else None
        if name in given:
            fault = parameter.fault_in(value)
        if fault is not None:
            faults.append(Fault(name, fault, parameter.allowed()))
        elif value is not None and parameter.type != "image":
            values[name] = float(value) if parameter.type == "number" else value
    return values


def _left_out(parameter: Parameter) -> Scalar | None:
    return secrets.randbelow(FREE_SEEDS) if parameter.type == "seed" else parameter.default


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
    sides = {"width", "height"} & properties.keys()
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "dependentRequired": {side: sorted(sides - {side}) for side in sorted(sides)},
        "additionalProperties": False,
    }


def _property(parameter: Parameter) -> dict[str, Any]:
    low, high = parameter.bounds()
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
    if not isinstance(value, str):
        return Fault(field, "must be a text", sorted(names))
    shown = _shown(value)
    near = difflib.get_close_matches(shown, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    message = f"is not a known {what}{hint}" if what else f"'{shown}' is not known{hint}"
    return Fault(_shown(field), message, sorted(names))


def _shown(text: str) -> str:
    """A caller's own words, fit for an answer: short, and without lone surrogates."""
    return text[:60].encode(errors="replace").decode()
