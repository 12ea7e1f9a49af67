"""Turn a document into a graph in API format, with what its file tells about it."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

from workflows.graph import Graph, Node, cycles, named, source_of
from workflows.importing.about import least_version, models_of, packs_of
from workflows.importing.flattening import Flattened, Instance, Value
from workflows.importing.layout import UiNode, layout
from workflows.importing.types import (
    MOST_NODES,
    Definitions,
    Document,
    Imported,
    NotAMode,
    Reason,
    refusal,
    short,
)
from workflows.importing.verdict import needed, reasons
from workflows.importing.widgets import completed

_LIST = "__value__"
"""In an object with this key ComfyUI takes a list as a value; any other list is a link."""


def convert(document: Document, definitions: Definitions) -> Imported:
    """Return the graph that ComfyUI's own front end would send for this document.

    Nodes that no picture depends on are left out. Raises NotAMode with every reason why no mode
    can be made of it.
    """
    try:
        return _convert(document, definitions)
    except RecursionError as error:
        raise refusal("its subgraphs or values are nested too deeply") from error


def _convert(document: Document, definitions: Definitions) -> Imported:
    ui = document.content if document.format == "ui" else document.ui
    if document.format == "ui":
        graph = exported(document, definitions)
    else:
        graph = _checked(document.content)
    packs = packs_of(ui or {}, graph, definitions)
    found = list(_faults(graph)) + reasons(graph, definitions, packs, ui or {})
    if found:
        raise NotAMode(*found)
    kept, left = needed(graph, definitions)
    return Imported(
        graph=kept,
        models=models_of(ui or {}, kept),
        packs={name: packs[name] for name in packs if name in _classes(kept)},
        left=tuple(left),
        least_version=least_version(ui or {}),
    )


def _classes(graph: Graph) -> set[str]:
    return {node["class_type"] for node in graph.values()}


def exported(document: Document, definitions: Definitions) -> Graph:
    """Return the whole graph of a workflow in UI format, as the front end's export has it."""
    flat = Flattened(layout(document.content), definitions)
    graph = {inst.id_of(node): _node(inst, node) for inst, node in flat.nodes()}
    for node in graph.values():
        for name, value in list(node["inputs"].items()):
            if source_of(value) is not None and source_of(value) not in graph:
                del node["inputs"][name]
    return graph


def _node(inst: Instance, node: UiNode) -> Node:
    definition = inst.flat.definitions.get(node.type) or {}
    inputs = {name: _plain(value) for name, value in inst.flat.values(node).items()}
    for slot in node.inputs:
        if slot.link is None:
            continue
        brought = inst.source(slot.link, slot.type)
        if isinstance(brought, Value):
            inputs[slot.name] = _plain(brought.value)
        elif brought is not None:
            inputs[slot.name] = [brought.node, brought.slot]
    title = node.title or str(definition.get("display_name") or node.type)
    inputs = completed(node.type, inputs)
    return {"inputs": inputs, "class_type": node.type, "_meta": {"title": title}}


def _plain(value: Any) -> Any:
    return {_LIST: value} if isinstance(value, list) else value


def _checked(content: dict[str, Any]) -> Graph:
    """Check the shape of a workflow in API format, and drop what only its run needed."""
    found = []
    graph: Graph = {}
    if len(content) > MOST_NODES:
        raise refusal(f"the workflow has {len(content)} nodes; at most {MOST_NODES} are read")
    for key, node in content.items():
        kind = node.get("class_type") if isinstance(node, dict) else None
        inputs = node.get("inputs", {}) if isinstance(node, dict) else None
        meta = node.get("_meta") if isinstance(node, dict) else None
        if not isinstance(kind, str) or not isinstance(inputs, dict):
            text = "is no node: it needs a 'class_type' and an object of 'inputs'"
            found.append(Reason(short(key), short(kind or ""), text))
            continue
        linked = {name: _link(value) for name, value in inputs.items()}
        title = meta.get("title") if isinstance(meta, dict) else None
        graph[key] = {"inputs": linked, "class_type": kind, "_meta": {"title": str(title or kind)}}
    if found:
        raise NotAMode(*found)
    return graph


def _link(value: Any) -> Any:
    """Return a link with its node's id as text; some programs write numbers."""
    if isinstance(value, list) and len(value) == 2 and type(value[0]) is int:
        return [str(value[0]), value[1]]
    return value


def _faults(graph: Graph) -> Iterator[Reason]:
    """Find links to nothing, circles, and values that no JSON file can hold."""
    for key, node in graph.items():
        kind = short(node["class_type"])
        for name, value in node["inputs"].items():
            source = source_of(value)
            if source is not None and source not in graph:
                yield Reason(short(key), kind, f"its input '{short(name)}' is linked to nothing")
            elif fault := _fault_in(value):
                yield Reason(short(key), kind, f"its input '{short(name)}' {fault}")
        if _fault_in(node["_meta"]["title"]) or _fault_in(node["class_type"]):
            yield Reason(short(key), kind, "its title or class is no valid text")
    for circle in itertools.islice(cycles(graph), 3):
        yield Reason(
            short(circle[0]),
            short(graph[circle[0]]["class_type"]),
            f"its links go in a circle: {short(named(graph, circle[:5]))}",
        )


def _fault_in(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, which is no number"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "is no valid text"
    if isinstance(value, list | dict):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return next((fault for each in inner if (fault := _fault_in(each))), "")
    return ""
