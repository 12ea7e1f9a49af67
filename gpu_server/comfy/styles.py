"""Which styles ComfyUI can draw now: whether it has every node and model file they need."""

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpu_server.comfy.answers import NodeFault
from gpu_server.comfy.model_files import advice, files_of, missing_models
from gpu_server.comfy.object_info import Definitions
from workflows.catalog import Mode
from workflows.graph import Graph
from workflows.live import LiveCatalog
from workflows.parameters import Request
from workflows.render import RenderError, render, size_of
from workflows.spec import CatalogError

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

    live: LiveCatalog
    definitions: Definitions
    states: dict[tuple[str, str], StyleState] = field(default_factory=dict)
    """By mode and style; empty before the first check."""
    damaged: set[str] = field(default_factory=set)
    """Model files that cannot be loaded; the next check takes their styles out."""

    def state(self, mode: str, style: str) -> StyleState:
        why = "it is being checked" if self.states else "ComfyUI was not reached yet"
        return self.states.get((mode, style), StyleState(False, why))

    async def check(self, output_class: str, version: str = "") -> None:
        """Read ComfyUI's definitions again and check every style. Raises ComfyError.

        `version` is ComfyUI's, if it is known.
        """
        catalog = self.live.current
        graphs, unfit = samples(catalog, output_class)
        classes = {str(node["class_type"]) for graph in graphs.values() for node in graph.values()}
        await self.definitions.renew(classes)
        fit = {
            (mode, style): await self._check_style(style, graph, catalog.modes[mode], version)
            for (mode, style), graph in graphs.items()
        }
        self.states = fit | unfit

    async def _check_style(self, style: str, graph: Graph, mode: Mode, version: str) -> StyleState:
        faults = await self.definitions.faults_in(graph)
        return state_of(style, graph, faults, self.damaged, too_old=too_old(mode, version))


def samples(
    modes: Iterable[Mode], output_class: str = "SaveImage"
) -> tuple[dict[tuple[str, str], Graph], dict[tuple[str, str], StyleState]]:
    """Return a sample graph of each style, by mode and style, and the state of those without."""
    graphs, unfit = {}, {}
    for mode in modes:
        for style in mode.styles:
            try:
                graphs[mode.name, style], *_ = variants(mode, style, output_class)
            except (RenderError, CatalogError) as error:
                unfit[mode.name, style] = StyleState(False, f"it cannot be drawn: {error}")
    return graphs, unfit


def too_old(mode: Mode, version: str) -> str:
    """Say that a ComfyUI of this version is too old for a mode; "" if it is not, or unknown."""
    least = mode.spec.least_comfyui
    if not least or not version or _numbers(version) >= _numbers(least):
        return ""
    return f"it needs ComfyUI {least} or newer, and this one is {version[:40]}; update it"


def _numbers(version: str) -> tuple[int, ...]:
    """Return 0.3.40 as (0, 3, 40); what follows the numbers, as in 0.3.40-2, does not count."""
    found = re.match(r"v?(\d{1,9}(?:\.\d{1,9})*)", version)
    numbers = [int(part) for part in found[1].split(".")] if found else [sys.maxsize]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def state_of(
    style: str,
    graph: Graph,
    faults: Sequence[NodeFault],
    damaged: Collection[str] = (),
    *,
    too_old: str = "",
) -> StyleState:
    """Return a style's state, from the faults in its graph and the damaged model files."""
    files = tuple(files_of(graph))
    if too_old:
        return StyleState(False, too_old, files=files)
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


def variants(mode: Mode, style: str, output_class: str = "SaveImage") -> Iterator[Graph]:
    """Yield graphs of the style: with each choice, and without the photos that may be left out.

    Raises RenderError or CatalogError.
    """
    yield sample(mode, style, output_class)
    needed = [name for name, parameter in mode.photos.items() if parameter.required]
    if len(needed) < len(mode.photos):
        try:
            yield sample(mode, style, output_class, photos=needed)
        except CatalogError as error:
            raise RenderError(f"without the photos that may be left out, {error}") from error
    for name, parameter in mode.spec.parameters.items():
        for value in parameter.values:
            yield sample(mode, style, output_class, **{name: value})


def sample(
    mode: Mode,
    style: str,
    output_class: str = "SaveImage",
    *,
    photos: Iterable[str] | None = None,
    **chosen: str,
) -> Graph:
    """Return a graph of the style with arbitrary values."""
    values: dict[str, Any] = {"text": "sample", "seed": 0}
    known = {
        name: parameter.default if parameter.default is not None else values[parameter.type]
        for name, parameter in mode.spec.parameters.items()
        if parameter.type in values
    }
    request = Request(mode=mode.name, style=style, **known, **chosen)
    rendered = render(
        mode,
        request,
        size=size_of(mode, request),
        prefix="easel/sample",
        photos=dict.fromkeys(mode.photos if photos is None else photos, "sample.png"),
        output_class=output_class,
    )
    return rendered.graph
