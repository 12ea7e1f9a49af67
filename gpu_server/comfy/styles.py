"""Which styles ComfyUI can draw now: whether it has every node and model file they need."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpu_server.comfy.answers import NodeFault
from gpu_server.comfy.model_files import advice, files_of, missing_models
from gpu_server.comfy.object_info import Definitions
from workflows.catalog import Catalog, Mode
from workflows.graph import Graph
from workflows.parameters import Request
from workflows.render import render, size_of

_NO_CONTROLNET = "set EASEL_CONTROLNET to the Canny ControlNet that fits EASEL_CHECKPOINT"


@dataclass(frozen=True)
class StyleState:
    """Whether a style can be drawn now, and if not why."""

    available: bool
    reason: str | None = None
    missing: tuple[str, ...] = ()
    """Its model files that ComfyUI does not have."""
    files: tuple[str, ...] = ()
    """All its model files."""


@dataclass
class Styles:
    """The state of every style of the catalogue, as of the last `check`."""

    catalog: Catalog
    definitions: Definitions
    states: dict[tuple[str, str], StyleState] = field(default_factory=dict)
    """By mode and style; empty before the first check."""
    damaged: set[str] = field(default_factory=set)
    """Model files that cannot be loaded; the next check takes their styles out."""

    def state(self, mode: str, style: str) -> StyleState:
        return self.states.get((mode, style), StyleState(False, "ComfyUI was not reached yet"))

    async def check(self, output_class: str) -> None:
        """Read ComfyUI's definitions again and check every style. Raises ComfyError."""
        graphs = {
            (mode.name, style): sample(mode, style, output_class)
            for mode in self.catalog
            for style in mode.styles
        }
        classes = {str(node["class_type"]) for graph in graphs.values() for node in graph.values()}
        await self.definitions.renew(classes)
        self.states = {
            (mode, style): await self._check_style(style, graph)
            for (mode, style), graph in graphs.items()
        }

    async def _check_style(self, style: str, graph: Graph) -> StyleState:
        return state_of(style, graph, await self.definitions.faults_in(graph), self.damaged)


def state_of(
    style: str, graph: Graph, faults: Sequence[NodeFault], damaged: Collection[str] = ()
) -> StyleState:
    """Return a style's state, from the faults in its graph and the damaged model files."""
    files = tuple(files_of(graph))
    missing = missing_models(faults)
    if broken := sorted({*damaged}.intersection(files)):
        reason = f"{broken[0]} is damaged; pull it again and restart ComfyUI"
        return StyleState(False, reason, missing, files)
    if missing:
        return StyleState(False, advice(missing, style), missing, files)
    if any(lacks_controlnet(fault) for fault in faults):
        return StyleState(False, _NO_CONTROLNET, files=files)
    if faults:
        return StyleState(False, str(faults[0]), files=files)
    return StyleState(True, files=files)


def lacks_controlnet(fault: NodeFault) -> bool:
    """Whether it is the ControlNet of one's own checkpoint that no setting names."""
    return fault.field == "control_net_name"


def sample(mode: Mode, style: str, output_class: str = "SaveImage") -> Graph:
    """Return a graph of the style with arbitrary values."""
    values: dict[str, Any] = {"text": "sample", "seed": 0}
    known = {
        name: parameter.default if parameter.default is not None else values[parameter.type]
        for name, parameter in mode.spec.parameters.items()
        if parameter.type in values
    }
    request = Request(mode=mode.name, style=style, **known)
    rendered = render(
        mode,
        request,
        size=size_of(mode, request),
        prefix="easel/sample",
        photos=dict.fromkeys(mode.photos, "sample.png"),
        output_class=output_class,
    )
    return rendered.graph
