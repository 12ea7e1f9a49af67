"""The catalogue: one folder per mode, with a `mode.toml` and ComfyUI graphs in API format.

Loading checks everything that can be checked without a ComfyUI, so that a mistake in a folder is
one clear sentence at start-up instead of a failed generation.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workflows.spec import GraphSpec, ModeSpec, Scalar, Style

Node = dict[str, Any]
Graph = dict[str, Node]
"""A ComfyUI graph in API format: node id → `{"class_type", "inputs", "_meta": {"title"}}`."""


class CatalogError(ValueError):
    """A mode's folder has a mistake; the message names the file, the key and the fault."""


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

    def __iter__(self) -> Iterator[Mode]:
        return iter(self.modes.values())

    def with_checkpoint(self, checkpoint: str, controlnet: str = "", base: int = 1024) -> "Catalog":
        """Serve every style with one checkpoint, through the modes' `plain` graphs.

        `checkpoint` and `controlnet` are names as ComfyUI lists them; `base` is the side in pixels
        that the checkpoint was trained for (512 for SD 1.5, 1024 for SDXL). A mode without a
        `plain` graph keeps its own graphs.
        """
        own: dict[str, Scalar] = {"checkpoint": checkpoint, "controlnet": controlnet}
        return Catalog({name: _plain(mode, own, base) for name, mode in self.modes.items()})


def load(*folders: Path) -> Catalog:
    """Load the modes of Easel and of further `folders` (each holding one folder per mode).

    Raises CatalogError when a folder has a mistake or two modes share a name.
    """
    modes: dict[str, Mode] = {}
    for folder in (Path(__file__).parent, *folders):
        if not folder.is_dir():
            raise CatalogError(f"the workflows folder '{folder.name}' does not exist")
        for toml in sorted(folder.glob("*/mode.toml")):
            mode = load_mode(toml.parent)
            if mode.name in modes:
                raise CatalogError(f"the mode '{mode.name}' exists twice")
            modes[mode.name] = mode
    return Catalog(dict(sorted(modes.items(), key=lambda item: (item[1].spec.order, item[0]))))


def load_mode(folder: Path) -> Mode:
    """Load one mode. Raises CatalogError when its folder has a mistake."""
    where = f"{folder.name}/mode.toml"
    try:
        spec = ModeSpec.model_validate(tomllib.loads((folder / "mode.toml").read_text("utf-8")))
    except ValidationError as error:
        raise CatalogError(f"{where}: {_in_words(error)}") from error
    except (OSError, ValueError) as error:  # TOML and UTF-8 have their own ValueErrors
        raise CatalogError(f"{where}: {error}") from error
    graphs = {name: _load_graph(folder, graph) for name, graph in spec.graphs.items()}
    mode = Mode(folder.name, spec, graphs)
    for name in spec.styles:
        for fault in _faults_in_style(mode, name):
            raise CatalogError(f"{where}: the style '{name}' {fault}")
    return mode


def find_node(graph: Graph, title: str) -> str:
    """Return the id of the only node with this title. Raises CatalogError if it is not unique."""
    ids = [key for key, node in graph.items() if node.get("_meta", {}).get("title") == title]
    if len(ids) != 1:
        raise CatalogError(f"{len(ids)} nodes have the title '{title}'; exactly one is needed")
    return ids[0]


def source_of(value: Any) -> str | None:
    """Return the id of the node an input's value links to, or None for a plain value."""
    return value[0] if isinstance(value, list) and len(value) == 2 else None


def downstream(graph: Graph, start: str) -> list[str]:
    """Return `start` and every node that depends on it, in the graph's order."""
    reached = {start}
    while True:
        new = {
            key
            for key, node in graph.items()
            if key not in reached and any(source_of(v) in reached for v in node["inputs"].values())
        }
        if not new:
            return [key for key in graph if key in reached]
        reached |= new


def _in_words(error: ValidationError) -> str:
    faults = [(".".join(map(str, fault["loc"])), str(fault["msg"])) for fault in error.errors()]
    texts = [f"{key}: {message.removeprefix('Value error, ')}" for key, message in faults]
    return "; ".join(text.removeprefix(": ") for text in texts)


def _load_graph(folder: Path, spec: GraphSpec) -> Graph:
    where = f"{folder.name}/{spec.file}"
    try:
        graph: Graph = json.loads((folder / spec.file).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CatalogError(f"{where}: {error}") from error
    if not _is_graph(graph):
        raise CatalogError(
            f"{where}: this is not a graph in API format; use 'Export (API)' in ComfyUI"
        )
    for value, target in spec.bind.items():
        title, _, name = target.rpartition(".")
        try:
            inputs = graph[find_node(graph, title)]["inputs"]
        except CatalogError as error:
            raise CatalogError(f"{where}: '{value}' is bound to '{target}', but {error}") from error
        if name not in inputs:
            raise CatalogError(f"{where}: the node '{title}' has no input '{name}' (for '{value}')")
    _check_output(graph, spec, where)
    return graph


def _is_graph(graph: Any) -> bool:
    return isinstance(graph, dict) and all(
        isinstance(node, dict)
        and isinstance(node.get("class_type"), str)
        and isinstance(node.get("inputs"), dict)
        and isinstance(node.get("_meta", {}), dict)
        for node in graph.values()
    )


def _check_output(graph: Graph, spec: GraphSpec, where: str) -> None:
    """Require one image per seed: one SaveImage, downstream of the node that takes the seed."""
    outputs = [key for key, node in graph.items() if node["class_type"] == "SaveImage"]
    if len(outputs) != 1:
        raise CatalogError(f"{where}: it has {len(outputs)} SaveImage nodes; exactly one is needed")
    if "seed" not in spec.bind:
        raise CatalogError(f"{where}: nothing is bound to 'seed'")
    seeded = find_node(graph, spec.bind["seed"].rpartition(".")[0])
    if outputs[0] not in downstream(graph, seeded):
        raise CatalogError(f"{where}: its SaveImage node does not depend on the seed")


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
