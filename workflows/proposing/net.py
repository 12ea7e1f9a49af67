"""A graph together with its nodes' definitions: what kind each input is and where links lead."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from workflows.graph import Graph
from workflows.importing import Definitions

Slot = tuple[str, str]
"""A node's id and the name of one of its inputs."""

_BY_VALUE = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING"}
SWITCHES = ("ComfySwitchNode", "ComfySoftSwitchNode")
_NOT_WORDS = ("delimiter", "regex_pattern", "find", "pattern", "format", "filename_prefix")
_DEPTH = 50


@dataclass(frozen=True)
class Link:
    """An input that takes the output number `output` of the node `source`."""

    input: str
    source: str
    output: int


@dataclass(frozen=True)
class Net:
    graph: Graph
    definitions: Definitions

    def class_of(self, key: str) -> str:
        return str(self.graph[key]["class_type"])

    def value(self, slot: Slot) -> Any:
        return self.graph[slot[0]]["inputs"].get(slot[1])

    def links(self, key: str) -> Iterator[Link]:
        for name, value in self.graph[key]["inputs"].items():
            if is_link(value) and value[0] in self.graph:
                yield Link(name, value[0], value[1])

    def taken(self, key: str) -> Iterator[Link]:
        """Yield the links that count: of a switch that stands still only the chosen side."""
        links = list(self.links(key))
        if self.class_of(key) in SWITCHES and (state := self._state(key)) is not None:
            links = [link for link in links if link.input == ("on_true" if state else "on_false")]
        yield from links

    def _state(self, key: str) -> bool | None:
        origin = self.origin((key, "switch"))
        state = self.value(origin) if origin else None
        return state if isinstance(state, bool) else None

    def spec(self, slot: Slot) -> tuple[Any, dict[str, Any]]:
        """Return an input's type, as defined or else by its value, and its options."""
        inputs = self.definitions.get(self.class_of(slot[0]), {}).get("input", {})
        found = {**inputs.get("required", {}), **inputs.get("optional", {})}.get(slot[1])
        if not isinstance(found, list) or not found:
            return _BY_VALUE.get(type(self.value(slot)), ""), {}
        options = found[1] if len(found) > 1 and isinstance(found[1], dict) else {}
        return ("COMBO" if isinstance(found[0], list) else found[0]), options

    def kind(self, slot: Slot) -> str:
        return str(self.spec(slot)[0])

    def output_kind(self, key: str, output: int, depth: int = _DEPTH) -> str:
        """Return the type of an output; one that follows the inputs' is that of what is linked."""
        kinds = self.definitions.get(self.class_of(key), {}).get("output", [])
        kind = kinds[output] if output < len(kinds) else ""
        if isinstance(kind, str) and (kind.startswith("COMFY_") or kind == "*") and depth:
            for link in self.taken(key):
                if link.input != "switch":
                    return self.output_kind(link.source, link.output, depth - 1)
        return kind if isinstance(kind, str) else "COMBO"

    def output_name(self, key: str, output: int) -> str:
        names = self.definitions.get(self.class_of(key), {}).get("output_name") or []
        return str(names[output]).lower() if output < len(names) else ""

    def gives(self, key: str, kind: str) -> bool:
        return kind in self.definitions.get(self.class_of(key), {}).get("output", [])

    def links_of_kind(self, key: str, kind: str) -> list[Link]:
        return [li for li in self.links(key) if self.output_kind(li.source, li.output) == kind]

    def above(self, key: str, not_beyond: Collection[str] = ()) -> list[str]:
        """Return the nodes that this one needs, itself included, nearest first."""
        found, waiting = {key: None}, [key]
        for each in waiting:
            if self.class_of(each) in not_beyond:
                continue
            new = [link.source for link in self.links(each) if link.source not in found]
            found.update(dict.fromkeys(new))
            waiting += dict.fromkeys(new)
        return list(found)

    def origin(self, slot: Slot) -> Slot | None:
        """Return the input with the plain value that reaches this one unchanged, if there is."""
        for _ in range(_DEPTH):
            if slot[1] not in self.graph[slot[0]]["inputs"]:
                return None
            if not is_link(value := self.value(slot)):
                return slot
            if value[0] not in self.graph:
                return None
            names = list(self.graph[value[0]]["inputs"])
            if self.class_of(value[0]) in SWITCHES:
                sides = [link.input for link in self.taken(value[0])]
                names = sides if len(sides) == 1 else []
            if len(names) != 1 or value[1] != 0:
                return None
            slot = (value[0], names[0])
        return None

    def texts(self, slot: Slot) -> list[Slot]:
        """Return every plain text that goes into an input, through whatever joins them."""
        found: dict[Slot, None] = {}
        waiting, seen = [slot], {slot}
        for each in waiting:
            value = self.value(each)
            if isinstance(value, str) and self.kind(each) == "STRING":
                found[each] = None
            if not is_link(value) or value[0] not in self.graph:
                continue
            key = value[0]
            links = {link.input for link in self.links(key)}
            live = {link.input for link in self.taken(key)}
            new = [
                (key, name)
                for name in self.graph[key]["inputs"]
                if (name not in links or name in live) and name not in _NOT_WORDS
            ]
            waiting += [s for s in new if s not in seen and self._may_be_text(s)]
            seen.update(new)
        return list(found)

    def _may_be_text(self, slot: Slot) -> bool:
        value = self.value(slot)
        if is_link(value):
            return self.output_kind(value[0], value[1]) == "STRING"
        return isinstance(value, str) and self.kind(slot) == "STRING"


def is_link(value: Any) -> bool:
    """Whether an input's value is a link to another node's output."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
        and value[1] >= 0
    )
