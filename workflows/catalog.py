"""The catalogue: one folder per mode, with a `mode.toml` and ComfyUI graphs in API format.

Loading checks everything that can be checked without a ComfyUI. A style with a fault is left out,
and a mode without its default style: each with every fault as a sentence. The others are served.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from workflows.faults import faults_in_graph, faults_in_parameters, faults_in_style
from workflows.files import Faults, read_graph, read_spec, reason
from workflows.graph import Graph
from workflows.spec import CatalogError, GraphSpec, ModeSpec, Scalar, Style

SHIPPED = "shipped"
OWN = "EASEL_WORKFLOWS_DIR"
"""Where a mode comes from: the setting, never a path of the host."""


@dataclass(frozen=True)
class Mode:
    """A mode and its graphs, checked against each other."""

    name: str
    spec: ModeSpec
    graphs: Mapping[str, Graph]
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """A style that is out of service → its faults, a sentence each."""
    faults: Sequence[str] = ()
    """Every fault, also of graphs that no style uses."""
    source: str = SHIPPED

    @property
    def styles(self) -> Mapping[str, Style]:
        """The styles in service."""
        return {name: s for name, s in self.spec.styles.items() if name not in self.left_out}

    @property
    def takes_image(self) -> bool:
        return any(p.type == "image" for p in self.spec.parameters.values())

    def graph_spec(self, style: str) -> GraphSpec:
        return self.spec.graphs[self.spec.styles[style].graph]

    def graph(self, style: str) -> Graph:
        """Copy the style's graph, to be changed freely."""
        return deepcopy(self.graphs[self.spec.styles[style].graph])

    def settings(self, style: str) -> dict[str, Scalar]:
        return {**self.graph_spec(style).settings, **self.spec.styles[style].settings}


@dataclass(frozen=True)
class OwnCheckpoint:
    """One checkpoint that serves every style through the modes' `plain` graphs.

    `checkpoint` and `controlnet` are names as ComfyUI lists them; `base` is the side in pixels that
    the checkpoint was trained for (512 for SD 1.5, 1024 for SDXL).
    """

    checkpoint: str
    controlnet: str = ""
    base: int = 1024


@dataclass(frozen=True)
class Catalog:
    modes: Mapping[str, Mode]
    broken: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """A mode that is left out → its faults, a sentence each."""
    own_broken: frozenset[str] = frozenset()
    """The broken modes that are not shipped."""

    def __iter__(self) -> Iterator[Mode]:
        return iter(self.modes.values())

    def out_of_service(self) -> dict[str, str]:
        """Say why each mode and each `mode:style` that is left out is so."""
        styles = {f"{m.name}:{style}": why for m in self for style, why in m.left_out.items()}
        return {name: "; ".join(why) for name, why in {**self.broken, **styles}.items()}

    def source(self, mode: str) -> str:
        """Say where a mode comes from, broken or not."""
        if mode in self.modes:
            return self.modes[mode].source
        return OWN if mode in self.own_broken else SHIPPED


def load(*folders: Path, own: OwnCheckpoint | None = None) -> Catalog:
    """Load the modes of Easel and of further `folders` (each holding one folder per mode).

    What cannot be loaded is in the result's `broken`; of two modes with one name the first is kept.
    """
    modes: dict[str, Mode] = {}
    broken: dict[str, Sequence[str]] = {}
    shipped: frozenset[str] = frozenset()
    for source, folder in ((SHIPPED, Path(__file__).parent), *((OWN, each) for each in folders)):
        try:
            places = sorted(place for place in folder.iterdir() if _is_mode(place))
        except OSError as error:
            broken[folder.name] = [f"the workflows folder '{folder.name}': {reason(error)}"]
            continue
        for place in places:
            if place.name in modes or place.name in broken:
                fault = f"the mode '{place.name}' exists twice; rename this folder"
                broken[f"{folder.name}/{place.name}"] = [fault]
                continue
            try:
                modes[place.name] = load_mode(place, source=source, own=own)
            except CatalogError as error:
                broken[place.name] = error.faults
        if source == SHIPPED:
            shipped = frozenset(broken)
    ordered = sorted(modes.items(), key=lambda item: (item[1].spec.order, item[0]))
    return Catalog(dict(ordered), broken, frozenset(broken) - shipped)


def _is_mode(place: Path) -> bool:
    """Whether a folder is meant as a mode, even if its `mode.toml` is missing or unreadable."""
    if place.name.startswith((".", "_")) or not place.is_dir():
        return False
    try:
        names = {path.name for path in place.iterdir()}
    except OSError:
        return True
    return any(name.endswith((".toml", ".json")) for name in names)


def load_mode(folder: Path, *, source: str = SHIPPED, own: OwnCheckpoint | None = None) -> Mode:
    """Load one mode. Raises CatalogError with every fault of its folder if it cannot be served.

    That is so if something is wrong with its default style or outside its styles and graphs: a
    request that names no style must never be drawn in a style that nobody chose.
    """
    where = f"{folder.name}/mode.toml"
    spec, faults = read_spec(folder)
    graphs = _load_graphs(folder, spec, faults)
    if own and ("plain" in spec.graphs or ("graphs", "plain") in faults):
        spec = _with_checkpoint(spec, own)
    left_out = _left_out(where, spec, faults)
    if texts := list(faults_in_parameters(spec)):
        faults.setdefault((), []).extend(f"{where}: {text}" for text in texts)
    default = spec.default_style
    if default not in {**spec.styles, **left_out} and () not in faults:
        faults[()] = [f"{where}: default_style '{default}' is not one of the styles"]
    everything = tuple(dict.fromkeys(chain(*faults.values(), *left_out.values())))
    if () in faults or default in left_out:
        raise CatalogError(*everything)
    used = {style.graph for name, style in spec.styles.items() if name not in left_out}
    usable = {name: graph for name, graph in graphs.items() if name in used}
    return Mode(folder.name, spec, usable, left_out, everything, source)


def _load_graphs(folder: Path, spec: ModeSpec, faults: Faults) -> dict[str, Graph]:
    """Load every graph of a mode, and note the faults of each."""
    graphs = {}
    for name, graph_spec in spec.graphs.items():
        place = ("graphs", name)
        try:
            graphs[name] = read_graph(folder / graph_spec.file)
        except CatalogError as error:
            faults.setdefault(place, []).extend(error.faults)
            continue
        where = f"{folder.name}/{graph_spec.file}"
        if texts := [f"{where}: {text}" for text in faults_in_graph(graphs[name], graph_spec)]:
            faults.setdefault(place, []).extend(texts)
    return graphs


def _left_out(where: str, spec: ModeSpec, faults: Faults) -> dict[str, Sequence[str]]:
    """Return each style that cannot be served, with its faults and those of its graph."""
    found = {part[1]: [*texts] for part, texts in faults.items() if part[:1] == ("styles",)}
    for name, style in spec.styles.items():
        texts = [*found.get(name, ()), *faults.get(("graphs", style.graph), ())]
        if style.graph in spec.graphs:
            texts += (f"{where}: the style '{name}' {why}" for why in faults_in_style(spec, name))
        elif ("graphs", style.graph) not in faults:
            texts.append(f"{where}: styles.{name}.graph '{style.graph}' is not one of the graphs")
        if texts:
            found[name] = texts
    return dict(found)


def _with_checkpoint(spec: ModeSpec, own: OwnCheckpoint) -> ModeSpec:
    """Serve every style through the `plain` graph, with the owner's checkpoint in it."""
    graphs = {}
    if plain := spec.graphs.get("plain"):
        values: dict[str, Scalar] = {"checkpoint": own.checkpoint, "controlnet": own.controlnet}
        bound = {name: value for name, value in values.items() if name in plain.bind}
        scaled = {
            ratio: (round(w * own.base / 1024 / 8) * 8, round(h * own.base / 1024 / 8) * 8)
            for ratio, (w, h) in plain.sizes.items()
        }
        settings = {**plain.settings, **bound}
        update = {"model": own.checkpoint, "sizes": scaled, "settings": settings}
        graphs = {"plain": plain.model_copy(update=update)}
    styles = {
        name: style.model_copy(update={"graph": "plain", "settings": {}, "ranges": {}})
        for name, style in spec.styles.items()
    }
    return spec.model_copy(update={"graphs": graphs, "styles": styles})
