"""The catalogue: one folder per mode, with a `mode.toml` and ComfyUI graphs in API format.

Loading checks everything that can be checked without a ComfyUI. A mode with a fault is left
out, with every fault as a sentence; the others are served.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workflows.graph import Graph, downstream, find_input
from workflows.spec import CatalogError, GraphSpec, ModeSpec, Scalar, Style


@dataclass(frozen=True)
class Mode:
    """A mode and its graphs, checked against each other."""

    name: str
    spec: ModeSpec
    graphs: Mapping[str, Graph]

    @property
    def styles(self) -> Mapping[str, Style]:
        return self.spec.styles

    @property
    def takes_image(self) -> bool:
        return any(p.type == "image" for p in self.spec.parameters.values())

    def graph_spec(self, style: str) -> GraphSpec:
        return self.spec.graphs[self.styles[style].graph]

    def graph(self, style: str) -> Graph:
        """Copy the style's graph, to be changed freely."""
        return deepcopy(self.graphs[self.styles[style].graph])

    def settings(self, style: str) -> dict[str, Scalar]:
        return {**self.graph_spec(style).settings, **self.styles[style].settings}


@dataclass(frozen=True)
class Catalog:
    modes: Mapping[str, Mode]
    broken: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """A mode that is left out → its faults, a sentence each."""

    def __iter__(self) -> Iterator[Mode]:
        return iter(self.modes.values())

    def with_checkpoint(self, checkpoint: str, controlnet: str = "", base: int = 1024) -> "Catalog":
        """Serve every style with one checkpoint, through the modes' `plain` graphs.

        `checkpoint` and `controlnet` are names as ComfyUI lists them; `base` is the side in pixels
        that the checkpoint was trained for (512 for SD 1.5, 1024 for SDXL). A mode without a
        `plain` graph keeps its own graphs.
        """
        own: dict[str, Scalar] = {"checkpoint": checkpoint, "controlnet": controlnet}
        modes = {name: _plain(mode, own, base) for name, mode in self.modes.items()}
        return Catalog(modes, self.broken)


def load(*folders: Path) -> Catalog:
    """Load the modes of Easel and of further `folders` (each holding one folder per mode).

    What cannot be loaded is in the result's `broken`; of two modes with one name the first is kept.
    """
    modes: dict[str, Mode] = {}
    broken: dict[str, Sequence[str]] = {}
    for folder in (Path(__file__).parent, *folders):
        try:
            places = sorted(place for place in folder.iterdir() if _is_mode(place))
        except OSError as error:
            broken[folder.name] = [f"the workflows folder '{folder.name}': {_reason(error)}"]
            continue
        for place in places:
            if place.name in modes or place.name in broken:
                fault = f"the mode '{place.name}' exists twice; rename this folder"
                broken[f"{folder.name}/{place.name}"] = [fault]
                continue
            try:
                modes[place.name] = load_mode(place)
            except CatalogError as error:
                broken[place.name] = error.faults
    ordered = sorted(modes.items(), key=lambda item: (item[1].spec.order, item[0]))
    return Catalog(dict(ordered), broken)


def _is_mode(place: Path) -> bool:
    """Whether a folder is meant as a mode, even if its `mode.toml` is missing or unreadable."""
    if place.name.startswith((".", "_")) or not place.is_dir():
        return False
    try:
        names = {path.name for path in place.iterdir()}
    except OSError:
        return True
    return any(name.endswith((".toml", ".json")) for name in names)


def load_mode(folder: Path) -> Mode:
    """Load one mode. Raises CatalogError with every fault that its folder has."""
    where = f"{folder.name}/mode.toml"
    try:
        spec = ModeSpec.model_validate(tomllib.loads(_read(folder / "mode.toml")))
    except ValidationError as error:
        raise CatalogError(*(f"{where}: {fault}" for fault in _in_words(error))) from error
    except (OSError, ValueError, RecursionError) as error:  # TOML and UTF-8 have own ValueErrors
        raise CatalogError(f"{where}: {_reason(error)}") from error
    graphs: dict[str, Graph] = {}
    faults: list[str] = []
    for name, graph in spec.graphs.items():
        try:
            graphs[name] = _load_graph(folder, graph)
        except CatalogError as error:
            faults += error.faults
    mode = Mode(folder.name, spec, graphs)
    for name in spec.styles:
        faults += (f"{where}: the style '{name}' {fault}" for fault in _faults_in_style(mode, name))
    if faults:
        raise CatalogError(*dict.fromkeys(faults))
    return mode


def _read(path: Path) -> str:
    """Read a hand-edited file: UTF-8, with or without a byte order mark."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is in UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8; save it as UTF-8") from error


def _reason(error: Exception) -> str:
    """Say what is wrong, without a path of this host."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return error.strerror or "cannot be read" if isinstance(error, OSError) else str(error)


def _in_words(error: ValidationError) -> list[str]:
    faults = [(".".join(map(str, fault["loc"])), str(fault["msg"])) for fault in error.errors()]
    texts = [f"{key}: {message.removeprefix('Value error, ')}" for key, message in faults]
    return [text.removeprefix(": ") for text in texts]


def _load_graph(folder: Path, spec: GraphSpec) -> Graph:
    where = f"{folder.name}/{spec.file}"
    try:
        graph: Graph = json.loads(_read(folder / spec.file))
    except (OSError, ValueError, RecursionError) as error:
        raise CatalogError(f"{where}: {_reason(error)}") from error
    faults = _faults_in_nodes(graph)
    if not faults:
        faults = [*_faults_in_bindings(graph, spec), *_faults_in_output(graph, spec)]
    if faults:
        raise CatalogError(*(f"{where}: {fault}" for fault in faults))
    return graph


def _faults_in_nodes(graph: Any) -> list[str]:
    if not isinstance(graph, dict) or "nodes" in graph or not graph:
        return ["this is not a graph in API format; use 'Export (API)' in ComfyUI"]
    faults = []
    for key, node in graph.items():
        if not isinstance(node, dict):
            faults.append(f"'{key}' is not a node; remove this key")
            continue
        if not isinstance(node.get("class_type"), str):
            faults.append(f"node '{key}': class_type must be the name of a node's class")
        if not isinstance(node.get("inputs"), dict):
            faults.append(f"node '{key}': inputs must be an object, {{}} if there are none")
        if not isinstance(node.get("_meta", {}), dict):
            faults.append(f"node '{key}': _meta must be an object")
    return faults


def _faults_in_bindings(graph: Graph, spec: GraphSpec) -> Iterator[str]:
    for value, target in spec.bind.items():
        try:
            find_input(graph, target)
        except CatalogError as error:
            yield f"'{value}' is bound to '{target}', but {error}"


def _faults_in_output(graph: Graph, spec: GraphSpec) -> Iterator[str]:
    """Require one image per seed: one SaveImage, downstream of the node that takes the seed."""
    outputs = [key for key, node in graph.items() if node["class_type"] == "SaveImage"]
    if len(outputs) != 1:
        yield f"it has {len(outputs)} SaveImage nodes; exactly one is needed"
    elif "images" not in graph[outputs[0]]["inputs"]:
        yield f"node '{outputs[0]}': its input 'images' is missing"
    if "seed" not in spec.bind:
        yield "nothing is bound to 'seed'"
        return
    try:
        seeded, _ = find_input(graph, spec.bind["seed"])
    except CatalogError:
        return  # told with the bindings
    if len(outputs) == 1 and outputs[0] not in downstream(graph, seeded):
        yield "its SaveImage node does not depend on the seed"


def _faults_in_style(mode: Mode, name: str) -> Iterator[str]:
    spec, style, parameters = mode.graph_spec(name), mode.styles[name], mode.spec.parameters
    for value in mode.settings(name):
        if value not in spec.bind:
            yield f"sets '{value}', which is not bound"
    for value, parameter in parameters.items():
        if value not in spec.bind and value not in spec.ignores and value != "count":
            yield f"neither binds nor ignores '{value}'"
        template = {"prompt": style.prompt, "negative_prompt": style.negative_prompt}.get(value)
        if template is not None and "{" + value + "}" not in template and value in spec.bind:
            yield f"has no {{{value}}} in its template '{value}'"
        if value in style.ranges and parameter.type != "number":
            yield f"has a range for '{value}', which is not a number"
    for value in style.ranges:
        if value not in parameters:
            yield f"has a range for '{value}', which is not a parameter"


def _plain(mode: Mode, own: Mapping[str, Scalar], base: int) -> Mode:
    plain = mode.spec.graphs.get("plain")
    if plain is None:
        return mode
    scaled = {
        ratio: (round(w * base / 1024 / 8) * 8, round(h * base / 1024 / 8) * 8)
        for ratio, (w, h) in plain.sizes.items()
    }
    bound = {name: value for name, value in own.items() if name in plain.bind}
    graph = plain.model_copy(
        update={
            "model": str(own["checkpoint"]),
            "sizes": scaled,
            "settings": {**plain.settings, **bound},
        }
    )
    styles = {
        name: style.model_copy(update={"graph": "plain", "settings": {}, "ranges": {}})
        for name, style in mode.styles.items()
    }
    spec = mode.spec.model_copy(update={"graphs": {"plain": graph}, "styles": styles})
    return replace(mode, spec=spec, graphs={"plain": mode.graphs["plain"]})
