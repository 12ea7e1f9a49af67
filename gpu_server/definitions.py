"""A graph against ComfyUI's own node definitions, before it is sent.

ComfyUI checks less than one would think: some graphs kill its worker thread, some fail minutes
later. What passes here is safe to post. Formats as given by `/object_info` of ComfyUI 0.3.64.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_server.comfy_answers import NodeFault
from workflows.catalog import Graph, Node

Definition = Mapping[str, Any]
Fetch = Callable[[str], Awaitable[dict[str, Any] | None]]

_NUMBERS: dict[str, tuple[type, ...]] = {"INT": (int,), "FLOAT": (int, float)}
_UPLOADED = ("image_upload",)


@dataclass
class Definitions:
    """Definitions by class, fetched when first needed; `renew` reads them again."""

    fetch: Fetch
    _known: dict[str, Definition | None] = field(default_factory=dict)

    async def renew(self, classes: Collection[str]) -> None:
        """Read these classes again: models come and go, and with them the choices."""
        self._known.update({name: await self.fetch(name) for name in classes})

    async def faults_in(self, graph: Graph) -> list[NodeFault]:
        """As the function below; a fault is believed only of freshly read definitions."""
        classes = {str(node["class_type"]) for node in graph.values()}
        unknown = classes - self._known.keys()
        await self.renew(unknown)
        faults = faults_in(graph, self._known)
        if faults and unknown != classes:
            await self.renew(classes)
            faults = faults_in(graph, self._known)
        return faults


def faults_in(graph: Graph, definitions: Mapping[str, Definition | None]) -> list[NodeFault]:
    """Everything in `graph` that ComfyUI would refuse, or that it would choke on."""
    faults: list[NodeFault] = []
    for node_id, node in graph.items():
        definition = definitions.get(node["class_type"])
        if definition is None:
            faults.append(_fault(node_id, node, "", "ComfyUI does not have this node"))
        else:
            faults += _faults_in_node(graph, definitions, node_id, definition)
    return faults


def _faults_in_node(
    graph: Graph,
    definitions: Mapping[str, Definition | None],
    node_id: str,
    definition: Definition,
) -> list[NodeFault]:
    node = graph[node_id]
    inputs = definition["input"]
    required = inputs.get("required", {})
    known = {**required, **inputs.get("optional", {})}
    faults = [
        _fault(node_id, node, name, "is missing") for name in required if name not in node["inputs"]
    ]
    for name, value in node["inputs"].items():
        if name not in known:
            faults.append(_fault(node_id, node, name, "is not an input of this node"))
            continue
        problem = (
            _fault_in_link(graph, definitions, value, known[name])
            if isinstance(value, list)
            else _fault_in_value(value, known[name])
        )
        if problem:
            choice = value if problem == _NOT_A_CHOICE and isinstance(value, str) else None
            faults.append(_fault(node_id, node, name, problem, choice))
    return faults


_NOT_A_CHOICE = "is not one of the choices"


def choices(spec: list[Any]) -> list[Any] | None:
    """The choices of an input, or None when it is not a list to choose from."""
    if isinstance(spec[0], list):
        return spec[0]
    if spec[0] == "COMBO" and len(spec) > 1:
        options: list[Any] = spec[1].get("options", [])
        return options
    return None


def _fault_in_value(value: Any, spec: list[Any]) -> str | None:
    options: Mapping[str, Any] = spec[1] if len(spec) > 1 else {}
    listed = choices(spec)
    if listed is not None:
        uploaded = any(options.get(flag) for flag in _UPLOADED)
        return None if uploaded or value in listed else _NOT_A_CHOICE
    kind = spec[0]
    if kind in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, _NUMBERS[kind]):
            return f"must be {kind}"
        if not options.get("min", value) <= value <= options.get("max", value):
            return f"must be from {options.get('min')} to {options.get('max')}"
        return None
    if kind in ("STRING", "BOOLEAN"):
        return None if isinstance(value, str if kind == "STRING" else bool) else f"must be {kind}"
    return f"must be linked to a {kind}"


def _fault_in_link(
    graph: Graph, definitions: Mapping[str, Definition | None], link: list[Any], spec: list[Any]
) -> str | None:
    if len(link) != 2 or link[0] not in graph or not isinstance(link[1], int) or link[1] < 0:
        return "is linked to nothing"
    source = definitions.get(graph[link[0]]["class_type"])
    given = list(source["output"]) if source else []
    if link[1] >= len(given):
        return "is linked to an output that does not exist"
    wanted = spec[0]
    return (
        None
        if "*" in (given[link[1]], wanted) or given[link[1]] == wanted
        else (f"needs {wanted}, is linked to {given[link[1]]}")
    )


def _fault(
    node_id: str, node: Node, name: str, message: str, missing_choice: str | None = None
) -> NodeFault:
    title = node.get("_meta", {}).get("title") or node["class_type"]
    return NodeFault(node_id, title, name, message, missing_choice)
