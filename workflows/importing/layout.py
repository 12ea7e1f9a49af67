"""Read the UI format: nodes, links and subgraphs, as typed objects whose shape was checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from workflows.importing.types import MOST_LINKS, MOST_NODES, MOST_SLOTS, refusal, short

ALWAYS, MUTED, BYPASSED = 0, 2, 4
_LINK_KEYS = ("id", "origin_id", "origin_slot", "target_id", "target_slot")


@dataclass(frozen=True)
class Slot:
    """An input of a node. `link` is the id of the link that ends here."""

    name: str
    type: str
    link: str | None = None
    widget: str | None = None
    """The widget that the input stands for."""


@dataclass(frozen=True)
class UiNode:
    id: str
    type: str
    title: str
    mode: int
    inputs: tuple[Slot, ...]
    outputs: tuple[str, ...]
    """The types of its outputs."""
    values: list[Any] | dict[str, Any]
    named: dict[str, Any] | None
    """The values of its widgets by name, which newer front ends save too."""
    properties: dict[str, Any]


@dataclass(frozen=True)
class Link:
    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(frozen=True)
class Canvas:
    """The whole workflow, or the definition of a subgraph with its inputs and outputs."""

    name: str
    nodes: dict[str, UiNode]
    links: dict[str, Link]
    inputs: tuple[Slot, ...] = ()
    entry: str = ""
    """The id from which links of the inputs start."""
    exits: dict[int, str] = field(default_factory=dict)
    """The link that ends at an output, by the output's number."""

    @cached_property
    def starts(self) -> dict[int, list[Link]]:
        """The links that start at the subgraph's inputs, by the input's number."""
        starts: dict[int, list[Link]] = {}
        for link in self.links.values():
            if self.entry and link.origin == self.entry:
                starts.setdefault(link.origin_slot, []).append(link)
        return starts


@dataclass(frozen=True)
class Layout:
    root: Canvas
    subgraphs: dict[str, Canvas]

    def within(self, node: UiNode) -> Canvas | None:
        """Return the definition of the subgraph that a node stands for."""
        return self.subgraphs.get(node.type)


def layout(content: Mapping[str, Any]) -> Layout:
    """Read a workflow in UI format. Raises NotAMode where its shape is wrong."""
    definitions = content.get("definitions")
    listed = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    subgraphs = _objects(listed, "definitions.subgraphs")
    _count(content, *subgraphs)
    canvases: dict[str, Canvas] = {}
    for each in subgraphs:
        key = str(each.get("id"))
        if key in canvases:
            raise refusal(f"two subgraphs have the id {short(key)}")
        canvases[key] = _canvas(each, f"subgraph '{short(each.get('name', key))}'")
    return Layout(_canvas(content, "the workflow"), canvases)


def _count(*canvases: Mapping[str, Any]) -> None:
    for key, most in (("nodes", MOST_NODES), ("links", MOST_LINKS)):
        count = sum(len(each[key]) for each in canvases if isinstance(each.get(key), list))
        if count > most:
            raise refusal(f"the workflow has {count} {key}; at most {most} are read")


def _canvas(content: Mapping[str, Any], where: str) -> Canvas:
    nodes: dict[str, UiNode] = {}
    for each in _objects(content.get("nodes"), f"{where}: nodes"):
        node = _node(each, where)
        if node.id in nodes:
            raise refusal(f"{where} has two nodes with the id {short(node.id)}")
        nodes[node.id] = node
    links = _links(content.get("links"), where)
    entry, end = _border(content, "inputNode"), _border(content, "outputNode")
    origins = {*nodes, entry}
    for node in nodes.values():
        for slot in node.inputs:
            link = links.get(slot.link) if slot.link is not None else None
            if slot.link is not None and (link is None or link.origin not in origins):
                raise refusal(
                    f"its input '{short(slot.name)}' has a link to nothing in {where}",
                    node.id,
                    node.type,
                )
    exits = {link.target_slot: key for key, link in links.items() if end and link.target == end}
    for number, key in exits.items():
        if links[key].origin not in origins:
            raise refusal(f"{where}: its output number {number} has a link from nothing")
    inputs = _slots(content.get("inputs"), where)
    return Canvas(where, nodes, links, inputs, entry, exits)


def _border(content: Mapping[str, Any], key: str) -> str:
    border = content.get(key)
    return str(border.get("id", "")) if isinstance(border, dict) else ""


def _node(content: dict[str, Any], where: str) -> UiNode:
    key, kind = content.get("id"), content.get("type")
    if not isinstance(key, int | str) or not isinstance(kind, str):
        raise refusal(f"{where} has a node without an id or a type")
    mode = content.get("mode", ALWAYS)
    values, named = content.get("widgets_values"), content.get("widgets_values_named")
    properties = content.get("properties")
    place = f"{where}: node {short(key)}"
    outputs = _objects(content.get("outputs"), f"{place}: outputs")
    return UiNode(
        id=str(key),
        type=kind,
        title=str(content.get("title") or ""),
        mode=mode if isinstance(mode, int) else ALWAYS,
        inputs=_slots(content.get("inputs"), place),
        outputs=tuple(_type(each.get("type", "")) for each in outputs),
        values=values if isinstance(values, list | dict) else [],
        named=named if isinstance(named, dict) else None,
        properties=properties if isinstance(properties, dict) else {},
    )


def _slots(content: Any, where: str) -> tuple[Slot, ...]:
    slots = _objects(content, f"{where}: inputs")
    if len(slots) > MOST_SLOTS:
        raise refusal(f"{where} has {len(slots)} inputs; at most {MOST_SLOTS} are read")
    return tuple(map(_slot, slots))


def _slot(content: dict[str, Any]) -> Slot:
    link, widget = content.get("link"), content.get("widget")
    return Slot(
        name=str(content.get("name", "")),
        type=_type(content.get("type", "")),
        link=None if link is None else str(link),
        widget=str(widget.get("name", "")) if isinstance(widget, dict) else None,
    )


def _type(kind: Any) -> str:
    """Return a slot's type; the choices of an old list of them are a type of their own."""
    return "COMBO" if isinstance(kind, list) else str(kind)


def _links(content: Any, where: str) -> dict[str, Link]:
    """Read links as lists of 0.4, or as the objects of version 1 and of subgraphs."""
    links: dict[str, Link] = {}
    for entry in content if isinstance(content, list) else []:
        if entry is None:
            continue
        parts = [entry.get(key) for key in _LINK_KEYS] if isinstance(entry, dict) else entry
        if not (isinstance(parts, list) and len(parts) >= len(_LINK_KEYS)):
            raise refusal(f"{where}: a link has neither the form of version 0.4 nor that of 1")
        key, origin, origin_slot, target, target_slot = parts[: len(_LINK_KEYS)]
        if not all(_is_number(slot) for slot in (origin_slot, target_slot)):
            raise refusal(f"{where}: link {short(key)} has a slot that is no number")
        links[str(key)] = Link(str(origin), int(origin_slot), str(target), int(target_slot))
    return links


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return value.isdecimal() and len(value) < 9
    return isinstance(value, int)


def _objects(content: Any, where: str) -> list[dict[str, Any]]:
    if content is None:
        return []
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise refusal(f"{where} must be a list of objects")
    return content
