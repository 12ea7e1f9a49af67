"""Which widgets a node has in ComfyUI's front end, in their order, and what a file gives them.

The front end saves values by position only. So a value's meaning hangs on the node's definition,
and on widgets that the definition does not name, such as `control_after_generate`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workflows.importing.layout import Slot, UiNode

Spec = list[Any]

_BASIC = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
_OTHER_WIDGETS = {
    *("BOUNDING_BOX", "BOUNDING_BOXES", "COLOR", "COLORS", "COMPOSITOR", "CURVE", "IMAGECOMPARE"),
    *("LOAD_3D", "MARKDOWN", "PAINTER", "RANGE", "TEXTAREA"),
}
_CHOICE = "COMFY_DYNAMICCOMBO_V3"
_GROWING = "COMFY_AUTOGROW_V3"
_OWN_CHOICES, _OPTION = "CustomCombo", "option"
_SEEDS = {"seed", "noise_seed"}
_AFTERWARDS = {"fixed", "increment", "decrement", "randomize", "increment-wrap"}
_UPLOADS = ("image_upload", "animated_image_upload", "video_upload", "file_upload")
_EMPTY = {"INT": 0, "FLOAT": 0, "STRING": "", "BOOLEAN": False}


@dataclass(frozen=True)
class Input:
    """An input as its node's definition has it; one of a chosen option has a dotted name."""

    name: str
    spec: Spec

    @property
    def options(self) -> Mapping[str, Any]:
        return self.spec[1] if len(self.spec) > 1 and isinstance(self.spec[1], dict) else {}

    @property
    def type(self) -> str:
        kind = "COMBO" if isinstance(self.spec[0], list) else str(self.spec[0])
        return str(self.options.get("widgetType", kind)) if "," in kind else kind

    @property
    def is_widget(self) -> bool:
        known = self.type in _BASIC or self.type in _OTHER_WIDGETS or self.type == _CHOICE
        return known and not self.options.get("forceInput")

    @property
    def default(self) -> Any:
        if "default" in self.options:
            return self.options["default"]
        choices = self.spec[0] if isinstance(self.spec[0], list) else self.options.get("options")
        if isinstance(choices, list) and choices:
            return choices[0]["key"] if self.type == _CHOICE else choices[0]
        return _EMPTY.get(self.type)

    @property
    def is_controlled(self) -> bool:
        """Whether a widget follows that says what becomes of the value after a run."""
        asked = self.options.get("control_after_generate")
        if self.type == "INT":
            return bool(asked or (asked is None and self.name.rpartition(".")[2] in _SEEDS))
        return bool(asked) and self.type == "COMBO"

    @property
    def has_button(self) -> bool:
        return self.type != "PAINTER" and any(self.options.get(each) for each in _UPLOADS)

    def chosen(self, value: Any) -> Iterator["Input"]:
        """Yield the inputs that come with a value of a choice."""
        options = self.options.get("options") if self.type == _CHOICE else None
        for option in options or ():
            if option.get("key") == value:
                for inputs in _sections(option.get("inputs", {})):
                    for name, spec in inputs:
                        yield Input(f"{self.name}.{name}", spec)


def inputs_of(definition: Mapping[str, Any]) -> list[list[Input]]:
    """Return required and optional inputs, in the order of the front end."""
    sections = _sections(definition.get("input", {}), definition.get("input_order", {}))
    return [[Input(name, spec) for name, spec in section] for section in sections]


def _sections(
    inputs: Mapping[str, Any], order: Mapping[str, Any] | None = None
) -> Iterator[list[tuple[str, Spec]]]:
    for section in ("required", "optional"):
        specs: Mapping[str, Spec] = inputs.get(section) or {}
        names = (order or {}).get(section) or list(specs)
        yield [(name, specs[name]) for name in names if name in specs]


def values_of(node: UiNode, definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every widget that goes into the graph, by the name of its input."""
    values = node.values if isinstance(node.values, list) else []
    reader = _Reader(values, named_values(node))
    for section in inputs_of(definition):
        for each in section:
            reader.take(each)
        reader.skip_button(section)
    if node.type == _OWN_CHOICES:
        reader.take_choices()
    return reader.found


def named_values(node: UiNode) -> dict[str, Any] | None:
    """Return values by name, unless somebody changed the list beside them, which then counts."""
    if isinstance(node.values, dict):
        return node.values
    rest = iter(node.values)
    agree = node.named is not None and all(value in rest for value in node.named.values())
    return node.named if agree else None


def completed(kind: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return a node's inputs with those that the front end works out from others."""
    if kind == _OWN_CHOICES:
        choices = [value for name, value in inputs.items() if name.startswith(_OPTION)]
        if inputs.get("choice") in choices:
            return {**inputs, "index": choices.index(inputs["choice"])}
    return inputs


class _Reader:
    """Reads values in the order of widgets, or by their names where the file has them."""

    def __init__(self, values: list[Any], named: Mapping[str, Any] | None) -> None:
        self._values, self._named, self._at = values, named, 0
        self.found: dict[str, Any] = {}

    def take(self, each: Input) -> None:
        if not each.is_widget:
            return
        value = self._next(each)
        self.found[each.name] = _as_number(value, each.type)
        if each.is_controlled:
            self._skip(_AFTERWARDS)
            if each.type == "COMBO":  # a filter for the list comes with its control
                self._skip({""})
        for inner in each.chosen(value):
            self.take(inner)

    def _next(self, each: Input) -> Any:
        position, self._at = self._at, self._at + 1
        if self._named is not None and each.name in self._named:
            return self._named[each.name]
        if position < len(self._values) and self._values[position] is not None:
            return self._values[position]
        return each.default

    def _skip(self, words: set[str]) -> None:
        """Pass over a value that is no input; files from before the widget existed lack it."""
        if self._at < len(self._values):
            value = self._values[self._at]
            self._at += value is None or value in words if isinstance(value, str | None) else 0

    def take_choices(self) -> None:
        """Take the index and the choices that a person wrote; no definition has them."""
        self.take(Input("index", ["INT"]))
        while self._at < len(self._values):
            self.take(Input(f"{_OPTION}{len(self.found) - 1}", ["STRING"]))

    def skip_button(self, section: list[Input]) -> None:
        if any(each.has_button for each in section):
            self._skip({"image", "video", "file", ""})


def _as_number(value: Any, kind: str) -> Any:
    """Return a whole number as ComfyUI wants it for INT; JSON does not tell 20 from 20.0."""
    if kind == "INT" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def slots_of(node: UiNode, definition: Mapping[str, Any] | None) -> list[Slot]:
    """Return all inputs in the front end's order: sockets, widgets, then what the file adds.

    Files leave out the unconnected inputs of widgets, but a bypassed node passes on by number.
    """
    if definition is None:
        return list(node.inputs)
    saved = {slot.name: slot for slot in node.inputs}
    defined = [each for section in inputs_of(definition) for each in section]
    ordered = sorted(defined, key=lambda each: each.is_widget)
    slots = [
        saved.pop(each.name, Slot(each.name, each.type))
        for each in ordered
        if each.type != _GROWING
    ]
    return slots + [slot for slot in node.inputs if slot.name in saved]
