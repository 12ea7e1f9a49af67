"""Check a graph against ComfyUI's own node definitions before sending it.

ComfyUI itself checks too little: some graphs kill its worker thread, others fail minutes later. A
graph that passes here is safe to post. Anything ComfyUI accepts must pass too, such as unknown
inputs and custom types. The format is that of `/object_info` in ComfyUI 0.3.64 to 0.33.0;
`object_info.json` has the definitions of 0.33.0's own nodes, without texts for people.
"""

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_server.comfy.answers import NodeFault
from workflows.graph import Graph, Node, cycles, named
from workflows.render import OUTPUT_CLASSES

Definition = Mapping[str, Any]
Fetch = Callable[[str], Awaitable[dict[str, Any] | None]]

_NUMBERS: dict[str, tuple[type, ...]] = {"INT": (int,), "FLOAT": (int, float)}
_ANY = "*"
_NOT_A_CHOICE = "is not one of the choices"
CIRCLE = "is in a circle of links"
_LACKS = "it is too old, or a node pack is missing (COMFYUI_CUSTOM_NODES)"
_PACKS = "custom_nodes."
_DYNAMIC = "COMFY_"
_CHECKS_ITSELF = ("CustomCombo",)
"""Nodes whose choices are in the workflow; ComfyUI leaves the check of their values to them."""
_LIST = "__value__"
"""In an object with this key ComfyUI takes a list as a value; any other list is a link."""
_LINKED_ONLY = {
    *("AUDIO", "CLIP", "CLIP_VISION", "CLIP_VISION_OUTPUT", "CONDITIONING", "CONTROL_NET"),
    *("GUIDER", "IMAGE", "LATENT", "MASK", "MODEL", "NOISE", "SAMPLER", "SIGMAS", "STYLE_MODEL"),
    *("UPSCALE_MODEL", "VAE", "VIDEO"),
}
"""ComfyUI's own types that only a link provides; a custom type may have a widget."""


@dataclass
class Definitions:
    """Definitions by class, fetched when first needed and kept until renewed.

    `packs` are the node packs whose nodes a graph may have.
    """

    fetch: Fetch
    packs: Collection[str] = ()
    _known: dict[str, Definition | None] = field(default_factory=dict)

    async def renew(self, classes: Collection[str]) -> None:
        """Fetch these classes again: their choices change as models come and go."""
        self._known.update({name: await self.fetch(name) for name in classes})

    async def faults_in(self, graph: Graph) -> list[NodeFault]:
        """Return every fault in the graph; before reporting any, renew the definitions."""
        classes = {str(node["class_type"]) for node in graph.values()}
        unknown = classes - self._known.keys()
        await self.renew(unknown)
        faults = faults_in(graph, self._known, self.packs)
        if faults and unknown != classes:
            await self.renew(classes)
            faults = faults_in(graph, self._known, self.packs)
        return faults


def faults_in(
    graph: Graph, definitions: Mapping[str, Definition | None], packs: Collection[str] = ()
) -> list[NodeFault]:
    """Return everything in `graph` that ComfyUI would refuse or fail on, or that is not allowed.

    Of node packs, a graph may have the nodes of these only, and Easel's own.
    """
    check = _Check(graph, definitions, packs)
    circles = [
        _fault(circle[0], graph[circle[0]], "", f"{CIRCLE}: {named(graph, circle)}")
        for circle in cycles(graph)
    ]
    return circles + [fault for node_id in graph for fault in check.faults_in_node(node_id)]


def recorded() -> dict[str, Definition]:
    """Return the definitions of ComfyUI's own nodes as recorded, without any model files."""
    text = Path(__file__).with_name("object_info.json").read_text("utf-8")
    definitions: dict[str, Definition] = json.loads(text)
    return definitions


@dataclass(frozen=True)
class _Check:
    graph: Graph
    definitions: Mapping[str, Definition | None]
    packs: Collection[str]

    def faults_in_node(self, node_id: str) -> list[NodeFault]:
        node = self.graph[node_id]
        definition = self.definitions.get(node["class_type"])
        if definition is None:
            message = f"is a '{node['class_type']}', which this ComfyUI does not have: {_LACKS}"
            return [_fault(node_id, node, "", message)]
        try:
            pack = pack_of(definition)
            if pack and pack not in self.packs and node["class_type"] not in OUTPUT_CLASSES:
                message = f"is of the node pack '{pack}', which COMFYUI_CUSTOM_NODES does not name"
                return [_fault(node_id, node, "", message)]
            required = definition["input"].get("required", {})
            specs = {**required, **definition["input"].get("optional", {})}
            faults = [
                _fault(node_id, node, name, "is missing")
                for name, spec in required.items()
                if name not in node["inputs"] and not _is_dynamic(spec)
            ]
            for name, value in node["inputs"].items():
                if name not in specs or _is_dynamic(specs[name]):
                    continue
                if node["class_type"] in _CHECKS_ITSELF and not isinstance(value, list):
                    continue
                if isinstance(value, list):
                    problem = self._fault_in_link(value, specs[name])
                else:
                    problem = _fault_in_value(value, specs[name])
                if problem is not None:
                    choice = value if problem == _NOT_A_CHOICE and isinstance(value, str) else None
                    faults.append(_fault(node_id, node, name, problem, choice))
        except (AttributeError, IndexError, KeyError, TypeError):
            return [_fault(node_id, node, "", "has a definition that cannot be read")]
        return faults

    def _fault_in_link(self, link: list[Any], spec: list[Any]) -> str | None:
        if len(link) != 2 or not isinstance(link[0], str):
            return f'is a list, which ComfyUI takes as {{"{_LIST}": […]}} only'
        node_id, output = link
        if node_id not in self.graph or not isinstance(output, int) or output < 0:
            return "is linked to nothing"
        source = self.definitions.get(self.graph[node_id]["class_type"])
        outputs = list(source["output"]) if source else []
        if output >= len(outputs):
            return "is linked to an output that does not exist"
        kind, wanted = outputs[output], spec[0]
        return None if _fits(kind, wanted) else f"needs {wanted}, is linked to {kind}"


def pack_of(definition: Definition) -> str:
    """Return the folder in `custom_nodes` that a node comes from; "" for ComfyUI's own nodes."""
    module = str(definition.get("python_module", ""))
    return module.removeprefix(_PACKS) if module.startswith(_PACKS) else ""


def _is_dynamic(spec: list[Any]) -> bool:
    """Whether ComfyUI works out the input's names and types itself, as for growing lists."""
    return isinstance(spec[0], str) and spec[0].startswith(_DYNAMIC)


def _fault_in_value(value: Any, spec: list[Any]) -> str | None:
    options: Mapping[str, Any] = spec[1] if len(spec) > 1 else {}
    if isinstance(value, dict) and _LIST in value:
        value = value[_LIST]
    kind = spec[0]
    choices = options.get("options") if kind == "COMBO" else kind
    if isinstance(choices, list):  # else only the node itself knows them
        return None if options.get("image_upload") or value in choices else _NOT_A_CHOICE
    if kind in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, _NUMBERS[kind]):
            return f"must be {kind}"
        if not options.get("min", value) <= value <= options.get("max", value):
            return f"must be from {options.get('min')} to {options.get('max')}"
        return None
    if kind in ("STRING", "BOOLEAN"):
        return None if isinstance(value, str if kind == "STRING" else bool) else f"must be {kind}"
    return f"must be linked to a {kind}" if kind in _LINKED_ONLY else None


def _fits(kind: Any, wanted: Any) -> bool:
    """Compare types as ComfyUI does: either may list several; one in common is enough."""
    if kind == wanted or _ANY in (kind, wanted):
        return True
    if not (isinstance(kind, str) and isinstance(wanted, str)):
        return False
    if kind.startswith(_DYNAMIC):
        return True
    return not {each.strip() for each in kind.split(",")}.isdisjoint(
        each.strip() for each in wanted.split(",")
    )


def _fault(
    node_id: str, node: Node, name: str, message: str, missing_choice: str | None = None
) -> NodeFault:
    title = node.get("_meta", {}).get("title") or node["class_type"]
    return NodeFault(node_id, title, name, message, missing_choice)
