"""The catalogue: one folder per mode, with a `mode.toml` and ComfyUI graphs in API format.

Loading checks everything that can be checked without a ComfyUI, so that a mistake in a folder
is one clear sentence at start-up and never a failed generation.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Scalar = str | int | float
Node = dict[str, Any]
Graph = dict[str, Node]
"""A ComfyUI graph in API format: node id → `{"class_type", "inputs", "_meta": {"title"}}`."""

ParameterType = Literal["text", "integer", "number", "seed", "image"]
Size = tuple[Annotated[int, Field(ge=16, le=8192)], Annotated[int, Field(ge=16, le=8192)]]

SEED_MAX = 2**53 - 1
"""Largest seed: the largest whole number that every JSON reader keeps exact."""


class CatalogError(ValueError):
    """A mode's folder is not in order; the message names the file, the key and the fault."""


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(Record):
    """A text shown to people, in each language of the bot."""

    en: str
    ru: str


class Parameter(Record):
    """One value a caller may give, with its range; also published as JSON Schema."""

    type: ParameterType
    title: Text
    description: Text | None = None
    required: bool = False
    default: Scalar | None = None
    minimum: float | None = None
    maximum: float | None = None
    multiple_of: int | None = None
    max_length: int | None = None
    unit: str | None = None


class GraphSpec(Record):
    """A graph file, the model it draws with and where each value goes in it."""

    file: str
    model: str
    """Name of what is loaded on the GPU: generations with the same name need no model change."""
    files: tuple[str, ...] = ()
    """Ids of the model files it needs, as in `gpu_server/models_config/models.json`."""
    sizes: dict[str, Size]
    """Aspect ratio → (width, height) in pixels, in the model's own resolutions; first = default."""
    multiple_of: int = 16
    bind: dict[str, str]
    """Value → `Node title.input`."""
    settings: dict[str, Scalar] = {}
    ignores: tuple[str, ...] = ()
    """Parameters that are accepted and have no effect with this model; told to callers."""


class Style(Record):
    title: Text
    description: Text
    graph: str
    prompt: str = "{prompt}"
    negative_prompt: str = "{negative_prompt}"
    settings: dict[str, Scalar] = {}
    ranges: dict[str, tuple[float, float]] = {}
    """A parameter in 0–1 → what its ends mean to the model."""
    timeout_s: float | None = None
    """GPU seconds one picture may take, where it differs from the platform's setting."""


class ModeSpec(Record):
    """The content of a `mode.toml`."""

    title: Text
    description: Text
    order: int = 100
    default_style: str
    parameters: dict[str, Parameter]
    graphs: dict[str, GraphSpec]
    styles: dict[str, Style]

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if self.default_style not in self.styles:
            raise ValueError(f"default_style '{self.default_style}' is not one of the styles")
        for name, style in self.styles.items():
            if style.graph not in self.graphs:
                raise ValueError(f"styles.{name}.graph '{style.graph}' is not one of the graphs")
        return self


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
        """A copy of the style's graph that may be changed freely."""
        return deepcopy(self.graphs[self.styles[style].graph])

    def settings(self, style: str) -> dict[str, Scalar]:
        return {**self.graph_spec(style).settings, **self.styles[style].settings}


@dataclass(frozen=True)
class Catalog:
    modes: Mapping[str, Mode]

    def __iter__(self) -> Iterator[Mode]:
        return iter(self.modes.values())

    def node_classes(self) -> frozenset[str]:
        """Every node class our graphs use: nothing else is ever sent to ComfyUI."""
        return frozenset(
            node["class_type"]
            for mode in self
            for graph in mode.graphs.values()
            for node in graph.values()
        )

    def with_checkpoint(self, checkpoint: str, controlnet: str = "", base: int = 1024) -> "Catalog":
        """Every style served by one checkpoint through the modes' `plain` graphs.

        `checkpoint` and `controlnet` are names as ComfyUI lists them; `base` is the side in pixels
        the checkpoint was trained for (512 for SD 1.5, 1024 for SDXL). A mode without a `plain`
        graph keeps its own graphs.
        """
        own: dict[str, Scalar] = {"checkpoint": checkpoint, "controlnet": controlnet}
        return Catalog({name: _plain(mode, own, base) for name, mode in self.modes.items()})


def load(*folders: Path) -> Catalog:
    """The modes of Easel and of further `folders` (each holding one folder per mode).

    Raises CatalogError when a folder is not in order or a mode's name is taken.
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
    """One mode from its folder; raises CatalogError."""
    where = f"{folder.name}/mode.toml"
    try:
        spec = ModeSpec.model_validate(tomllib.loads((folder / "mode.toml").read_text("utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise CatalogError(f"{where}: {error}") from error
    graphs = {name: _load_graph(folder, graph) for name, graph in spec.graphs.items()}
    mode = Mode(folder.name, spec, graphs)
    for style in spec.styles:
        _check_settings(mode, style, where)
    return mode


def find_node(graph: Graph, title: str) -> str:
    """Id of the one node with this title; raises CatalogError when there is none or several."""
    ids = [key for key, node in graph.items() if node.get("_meta", {}).get("title") == title]
    if len(ids) != 1:
        raise CatalogError(f"{len(ids)} nodes have the title '{title}'; exactly one is needed")
    return ids[0]


def _load_graph(folder: Path, spec: GraphSpec) -> Graph:
    where = f"{folder.name}/{spec.file}"
    try:
        graph: Graph = json.loads((folder / spec.file).read_text("utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise CatalogError(f"{where}: {error}") from error
    for value, target in spec.bind.items():
        title, _, name = target.rpartition(".")
        try:
            inputs = graph[find_node(graph, title)]["inputs"]
        except CatalogError as error:
            raise CatalogError(f"{where}: '{value}' is bound to '{target}', but {error}") from error
        if name not in inputs:
            raise CatalogError(f"{where}: the node '{title}' has no input '{name}' (for '{value}')")
    if not any(node["class_type"] == "SaveImage" for node in graph.values()):
        raise CatalogError(f"{where}: it has no SaveImage node")
    return graph


def _check_settings(mode: Mode, style: str, where: str) -> None:
    spec = mode.graph_spec(style)
    for name in mode.settings(style):
        if name not in spec.bind:
            raise CatalogError(f"{where}: the style '{style}' sets '{name}', which is not bound")
    for name, parameter in mode.spec.parameters.items():
        given_elsewhere = name == "count" or parameter.type == "image"
        if not (name in spec.bind or name in spec.ignores or given_elsewhere):
            raise CatalogError(f"{where}: '{name}' is neither bound nor ignored by '{style}'")


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
