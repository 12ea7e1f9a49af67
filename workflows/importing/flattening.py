"""Follow links as ComfyUI's front end does when it exports a graph.

Subgraphs are taken apart, reroutes and bypassed nodes passed, and what a link brings is either an
output of a node that runs, or the value of a widget.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from workflows.importing.layout import BYPASSED, MUTED, Canvas, Layout, UiNode
from workflows.importing.types import MOST_NODES, MOST_STEPS, Definitions, refusal, short
from workflows.importing.widgets import named_values, slots_of, values_of

SHOWN_ONLY = {
    *("Note", "MarkdownNote", "Label (rgthree)", "Bookmark (rgthree)"),
    *("Fast Groups Muter (rgthree)", "Fast Groups Bypasser (rgthree)", "Fast Muter (rgthree)"),
    *("Fast Bypasser (rgthree)", "Fast Actions Button (rgthree)", "Node Collector (rgthree)"),
    *("Mute / Bypass Relay (rgthree)", "Mute / Bypass Repeater (rgthree)"),
}
"""Nodes of the front end that bring nothing into a graph."""
_REROUTES = {"Reroute", "Reroute (rgthree)"}
_PRIMITIVE = "PrimitiveNode"
_SETTERS = {"SetNode", "easy setNode"}
_GETTERS = {"GetNode", "easy getNode"}
_DEEPEST = 50
_VIRTUAL = SHOWN_ONLY | _REROUTES | _SETTERS | _GETTERS | {_PRIMITIVE}


@dataclass(frozen=True)
class Output:
    """An output of a node that runs."""

    node: str
    slot: int


@dataclass(frozen=True)
class Value:
    """A widget's value that comes through a link."""

    value: Any


@dataclass(frozen=True, eq=False)
class Instance:
    """A canvas as it is used: the workflow itself, or a subgraph in the place of a node."""

    flat: "Flattened"
    canvas: Canvas
    parent: "Instance | None" = None
    host: UiNode | None = None
    path: str = ""
    children: dict[str, "Instance"] = field(default_factory=dict)

    def id_of(self, node: UiNode) -> str:
        return f"{self.path}{node.id}"

    def inside(self, node: UiNode) -> "Instance | None":
        """Return what is within a node that stands for a subgraph."""
        canvas = self.flat.layout.within(node)
        if canvas is None:
            return None
        if node.id not in self.children:
            if self.path.count(":") >= _DEEPEST:
                raise refusal(
                    f"{canvas.name} contains itself, or is nested more than {_DEEPEST} times"
                )
            child = Instance(self.flat, canvas, self, node, f"{self.id_of(node)}:")
            self.children[node.id] = child
            self.flat.count()
        return self.children[node.id]

    def running(self) -> Iterator[tuple["Instance", UiNode]]:
        """Yield every node that goes into the graph, subgraphs taken apart."""
        for node in self.canvas.nodes.values():
            if node.mode in (MUTED, BYPASSED) or node.type in _VIRTUAL:
                continue
            inner = self.inside(node)
            if inner is None:
                self.flat.count()
                yield self, node
            else:
                yield from inner.running()

    # Values of widgets

    @cached_property
    def promoted(self) -> dict[int, Any]:
        """The values of the host's own widgets, by the number of the input each stands for."""
        host = self.host
        if host is None:
            return {}
        inner = {
            number: value
            for number in range(len(self.canvas.inputs))
            if (value := self._inner_value(number)) is not None
        }
        names = [self.canvas.inputs[number].name for number in inner]
        given = _given(host, names)
        return {
            number: given.get(self.canvas.inputs[number].name, value.value)
            for number, value in inner.items()
        }

    def _inner_value(self, number: int) -> Value | None:
        """Return the value of the first widget that an input of the subgraph leads to."""
        for link in self.canvas.starts.get(number, []):
            node = self.canvas.nodes.get(link.target)
            if node is None or not 0 <= link.target_slot < len(node.inputs):
                continue
            name = node.inputs[link.target_slot].name
            inner = self.inside(node)
            if inner is None:
                values = self.flat.values(node)
                if name in values:
                    return Value(values[name])
            else:
                for position, slot in enumerate(inner.canvas.inputs):
                    if slot.name == name and position in inner.promoted:
                        return Value(inner.promoted[position])
        return None

    # Links

    @cached_property
    def setters(self) -> dict[str, str | None]:
        """The links whose values the canvas gives a name."""
        nodes = self.canvas.nodes.values()
        return {
            _first(node): node.inputs[0].link
            for node in nodes
            if node.type in _SETTERS and node.inputs
        }

    def source(self, link_id: str, wanted: str, steps: int = 0) -> Output | Value | None:
        """Return what a link brings to an input of the type `wanted`."""
        if steps > MOST_STEPS:
            raise refusal(
                f"{self.canvas.name}: link {short(link_id)} goes in a circle, or through more than "
                f"{MOST_STEPS} reroutes and borders"
            )
        link = self.canvas.links[link_id]
        if self.parent is not None and link.origin == self.canvas.entry:
            return self._from_outside(link.origin_slot, wanted, steps + 1)
        node = self.canvas.nodes[link.origin]
        return self._output(node, link.origin_slot, wanted, steps + 1)

    def _from_outside(self, number: int, wanted: str, steps: int) -> Output | Value | None:
        if not 0 <= number < len(self.canvas.inputs):
            raise refusal(f"{self.canvas.name} has no input number {number}")
        name = self.canvas.inputs[number].name
        for slot in self.host.inputs if self.host else ():
            if self.parent and slot.name == name and slot.link is not None:
                return self.parent.source(slot.link, wanted, steps)
        return Value(self.promoted[number]) if number in self.promoted else None

    def _output(self, node: UiNode, slot: int, wanted: str, steps: int) -> Output | Value | None:
        if node.mode == MUTED:
            return None
        if node.mode == BYPASSED:
            return self._past(node, slot, wanted, steps)
        inner = self.inside(node)
        if inner is not None:
            end = inner.canvas.exits.get(slot)
            return None if end is None else inner.source(end, wanted, steps)
        if node.type == _PRIMITIVE:
            values = node.values if isinstance(node.values, list) else list(node.values.values())
            return Value(values[0]) if values else None
        if node.type in _GETTERS:
            return self._set_elsewhere(node, wanted, steps)
        if node.type in _REROUTES | _SETTERS:
            return self._through(node.inputs[0].link if node.inputs else None, wanted, steps)
        return None if node.type in _VIRTUAL else Output(self.id_of(node), slot)

    def _through(self, link_id: str | None, wanted: str, steps: int) -> Output | Value | None:
        return None if link_id is None else self.source(link_id, wanted, steps)

    def _set_elsewhere(self, node: UiNode, wanted: str, steps: int) -> Output | Value | None:
        name = _first(node)
        if name in self.setters:
            return self._through(self.setters[name], wanted, steps)
        if self.parent is not None:
            return self.parent._set_elsewhere(node, wanted, steps)
        raise refusal(f"nothing sets '{short(name)}'", self.id_of(node), node.type)

    def _past(self, node: UiNode, slot: int, wanted: str, steps: int) -> Output | Value | None:
        """Pass a bypassed node by the input that fits best."""
        slots = slots_of(node, self.flat.definitions.get(node.type))
        brought = node.outputs[slot] if 0 <= slot < len(node.outputs) else ""
        fitting = [each for each in slots if fits(each.type, brought) and fits(each.type, wanted)]
        if wanted in ("*", ""):
            chosen = slots[slot] if 0 <= slot < len(slots) else next(iter(slots), None)
        elif 0 <= slot < len(slots) and slots[slot] in fitting:
            chosen = slots[slot]
        else:
            exact = [each for each in slots if each.type == wanted]
            chosen = next(iter(exact + fitting), None)
        return self._through(chosen.link if chosen else None, wanted, steps)


@dataclass(frozen=True, eq=False)
class Flattened:
    """A workflow that is being taken apart."""

    layout: Layout
    definitions: Definitions
    _size: Iterator[int] = field(default_factory=itertools.count)

    def count(self) -> None:
        """Bound what small files of subgraphs within subgraphs can unfold to."""
        if next(self._size) >= MOST_NODES:
            raise refusal(f"with its subgraphs it has more than {MOST_NODES} nodes")

    def nodes(self) -> list[tuple[Instance, UiNode]]:
        """Return the nodes that run. Raises NotAMode if they are too many."""
        return list(Instance(self, self.layout.root).running())

    def values(self, node: UiNode) -> dict[str, Any]:
        definition = self.definitions.get(node.type)
        return {} if definition is None else values_of(node, definition)


def _given(host: UiNode, names: list[str]) -> dict[str, Any]:
    """Return what a subgraph's node sets of its own, in any of the forms of three years."""
    named = named_values(host)
    if named is not None or isinstance(host.values, dict):
        return named or {}
    proxies = host.properties.get("proxyWidgets")
    if isinstance(proxies, list):
        own = [
            (str(proxy[1]), value)
            for proxy, value in zip(proxies, host.values, strict=False)
            if isinstance(proxy, list) and len(proxy) > 1 and str(proxy[0]) == "-1"
        ]
        return {name: value for name, value in own if value is not None}
    return {
        name: value for name, value in zip(names, host.values, strict=False) if value is not None
    }


def _first(node: UiNode) -> str:
    values = node.values if isinstance(node.values, list) else list(node.values.values())
    return str(values[0]) if values else ""


def fits(one: str, other: str) -> bool:
    """Compare the types of slots as the front end does; each may be a list with commas."""
    if one in ("*", "", "0") or other in ("*", "", "0"):
        return True
    return not set(one.lower().split(",")).isdisjoint(other.lower().split(","))
