"""A graph against ComfyUI's own node definitions, before it is sent.

ComfyUI checks less than one would think: some graphs kill its worker thread, some fail minutes
later. What passes here is safe to post. What it takes passes: inputs that a node does not have,
types of custom nodes. Formats as given by `/object_info` of ComfyUI 0.3.64.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_server.comfy.answers import NodeFault
from workflows.catalog import Graph, Node

Definition = Mapping[str, Any]
Fetch = Callable[[str], Awaitable[dict[str, Any] | None]]

_NUMBERS: dict[str, tuple[type, ...]] = {"INT": (int,), "FLOAT": (int, float)}
_UPLOADED = ("image_upload",)
_ANY = "*"
_DYNAMIC = "COMFY_"
_HANDED_ON = {
    *("AUDIO", "CLIP", "CLIP_VISION", "CLIP_VISION_OUTPUT", "CONDITIONING", "CONTROL_NET"),
    *("GUIDER", "IMAGE", "LATENT", "MASK", "MODEL", "NOISE", "SAMPLER", "SIGMAS", "STYLE_MODEL"),
    *("UPSCALE_MODEL", "VAE", "VIDEO"),
}
"""ComfyUI's own types that only a link gives; a custom node's may be entered in a widget."""


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
    try:
        inputs = definition["input"]
        required = inputs.get("required", {})
        known = {**required, **inputs.get("optional", {})}
        missing = [
            _fault(node_id, node, name, "is missing")
            for name, spec in required.items()
            if name not in node["inputs"] and not _is_dynamic(spec)
        ]
        wrong = [
            _fault_in_input(graph, definitions, node_id, name, known[name])
            for name in node["inputs"]
            if name in known and not _is_dynamic(known[name])
        ]
    except (AttributeError, IndexError, KeyError, TypeError):
        return [_fault(node_id, node, "", "has a definition that cannot be read")]
    return [*missing, *(fault for fault in wrong if fault)]


def _is_dynamic(spec: list[Any]) -> bool:
    """Whether the input's names and types are ComfyUI's to work out, as those of growing lists."""
    return isinstance(spec[0], str) and spec[0].startswith(_DYNAMIC)


def _fault_in_input(
    graph: Graph,
    definitions: Mapping[str, Definition | None],
    node_id: str,
    name: str,
    spec: list[Any],
) -> NodeFault | None:
    node = graph[node_id]
    value = node["inputs"][name]
    problem = (
        _fault_in_link(graph, definitions, value, spec)
        if isinstance(value, list)
        else _fault_in_value(value, spec)
    )
    if problem is None:
        return None
    choice = value if problem == _NOT_A_CHOICE and isinstance(value, str) else None
    return _fault(node_id, node, name, problem, choice)


_NOT_A_CHOICE = "is not one of the choices"


def _choices(spec: list[Any], options: Mapping[str, Any]) -> list[Any] | None:
    """The choices of an input, or None when it is not a list to choose from, or one that only
    the node itself knows."""
    if isinstance(spec[0], list):
        return spec[0]
    return options.get("options") if spec[0] == "COMBO" else None


def _fault_in_value(value: Any, spec: list[Any]) -> str | None:
    options: Mapping[str, Any] = spec[1] if len(spec) > 1 else {}
    listed = _choices(spec, options)
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
    return f"must be linked to a {kind}" if kind in _HANDED_ON else None


def _fault_in_link(
    graph: Graph, definitions: Mapping[str, Definition | None], link: list[Any], spec: list[Any]
) -> str | None:
    if len(link) != 2 or link[0] not in graph or not isinstance(link[1], int) or link[1] < 0:
        return "is linked to nothing"
    source = definitions.get(graph[link[0]]["class_type"])
    given = list(source["output"]) if source else []
    if link[1] >= len(given):
        return "is linked to an output that does not exist"
    kind, wanted = given[link[1]], spec[0]
    return None if _fits(kind, wanted) else f"needs {wanted}, is linked to {kind}"


def _fits(given: Any, wanted: Any) -> bool:
    """As ComfyUI compares types: both may name several, with commas; one in common is enough."""
    if given == wanted or _ANY in (given, wanted):
        return True
    if not (isinstance(given, str) and isinstance(wanted, str)):
        return False
    if given.startswith(_DYNAMIC):
        return True
    return not {kind.strip() for kind in given.split(",")}.isdisjoint(
        kind.strip() for kind in wanted.split(",")
    )


def _fault(
    node_id: str, node: Node, name: str, message: str, missing_choice: str | None = None
) -> NodeFault:
    title = node.get("_meta", {}).get("title") or node["class_type"]
    return NodeFault(node_id, title, name, message, missing_choice)
