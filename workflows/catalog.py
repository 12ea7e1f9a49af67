"""The catalogue: one folder per mode, with a `mode.toml` and ComfyUI graphs in API format.

Loading checks everything that can be checked without a ComfyUI. A style with a fault is left out,
and a mode without its default style: each with every fault as a sentence. The others are served.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from pydantic import JsonValue

from workflows.faults import faults_in_graph, faults_in_parameters, faults_in_style
from workflows.files import Faults, read_graph, read_spec, reason
from workflows.graph import Graph
from workflows.spec import CatalogError, GraphSpec, ModeSpec, Parameter, Style

SHIPPED = "shipped"
OWN = "EASEL_WORKFLOWS_DIR"
"""Where modes come from: with Easel, or from the folder of this setting (never its path)."""


@dataclass(frozen=True)
class Mode:
    """A mode and its graphs, checked against each other."""

    name: str
    spec: ModeSpec
    graphs: Mapping[str, Graph]
    """Those that can be read, with faults or without."""
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """A style that is out of service → its faults, a sentence each."""
    faults: Sequence[str] = ()
    """Every fault, also of graphs that no style uses."""
    is_served: bool = True

    @property
    def styles(self) -> Mapping[str, Style]:
        """The styles in service."""
        return {name: s for name, s in self.spec.styles.items() if name not in self.left_out}

    @property
    def photos(self) -> Mapping[str, Parameter]:
        """The parameters whose values are photos."""
        return {name: p for name, p in self.spec.parameters.items() if p.is_photo}

    @property
    def takes_image(self) -> bool:
        return bool(self.photos)

    def graph_spec(self, style: str) -> GraphSpec:
        return self.spec.graphs[self.spec.styles[style].graph]

    def graph(self, style: str) -> Graph:
        """Copy the style's graph, to be changed freely."""
        return deepcopy(self.graphs[self.spec.styles[style].graph])

    def settings(self, style: str) -> dict[str, JsonValue]:
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
    unfit: Mapping[str, Mode] = field(default_factory=dict)
    """Those of the broken modes whose `mode.toml` can be read, for checks to tell more faults."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each mode comes from, broken or not."""

    def __iter__(self) -> Iterator[Mode]:
        return iter(self.modes.values())

    def out_of_service(self) -> dict[str, str]:
        """Say why each mode and each `mode:style` that is left out is so."""
        styles = {f"{m.name}:{style}": why for m in self for style, why in m.left_out.items()}
        return {name: "; ".join(why) for name, why in {**self.broken, **styles}.items()}


def load(*folders: Path, own: OwnCheckpoint | None = None) -> Catalog:
    """Load the modes of Easel and of further `folders` (each holding one folder per mode).

    What cannot be loaded is in the result's `broken`; of two modes with one name the first is kept.
    """
    modes: dict[str, Mode] = {}
    broken: dict[str, Sequence[str]] = {}
    unfit: dict[str, Mode] = {}
    sources: dict[str, str] = {}
    for name, source, found in _read_all(folders, own):
        sources[name] = source
        if isinstance(found, Mode) and found.is_served:
            modes[name] = found
            continue
        broken[name] = found.faults
        if isinstance(found, Mode):
            unfit[name] = found
    ordered = sorted(modes.items(), key=lambda item: (item[1].spec.order, item[0]))
    return Catalog(dict(ordered), broken, unfit, sources)


def _read_all(
    folders: Sequence[Path], own: OwnCheckpoint | None
) -> Iterator[tuple[str, str, Mode | CatalogError]]:
    """Yield each mode's name, where it comes from, and the mode or why it cannot be read."""
    seen = set()
    for source, folder in ((SHIPPED, Path(__file__).parent), *((OWN, each) for each in folders)):
        try:
            places = sorted(place for place in folder.iterdir() if _is_mode(place))
        except OSError as error:
            fault = f"the workflows folder '{folder.name}': {reason(error)}"
            yield folder.name, source, CatalogError(fault)
            continue
        for place in places:
            if place.name in seen:
                fault = f"the mode '{place.name}' exists twice; rename this folder"
                yield f"{folder.name}/{place.name}", source, CatalogError(fault)
                continue
            seen.add(place.name)
            yield place.name, source, _read_or_fault(place, own)


def _read_or_fault(place: Path, own: OwnCheckpoint | None) -> Mode | CatalogError:
    try:
        return read_mode(place, own)
    except CatalogError as error:
        return error


def _is_mode(place: Path) -> bool:
    """Whether a folder is meant as a mode, even if its `mode.toml` is missing or unreadable."""
    if place.name.startswith((".", "_")) or not place.is_dir():
        return False
    try:
        names = {path.name for path in place.iterdir()}
    except OSError:
        return True
    return any(name.endswith((".toml", ".json")) for name in names)


def load_mode(folder: Path, own: OwnCheckpoint | None = None) -> Mode:
    """Load one mode. Raises CatalogError with every fault of its folder if it cannot be served."""
    mode = read_mode(folder, own)
    if not mode.is_served:
        raise CatalogError(*mode.faults)
    return mode


def read_mode(folder: Path, own: OwnCheckpoint | None = None) -> Mode:
    """Read one mode, fit to be served or not. Raises CatalogError if `mode.toml` is no TOML.

    It is not served if something is wrong with its default style or outside its styles and graphs:
    a request that names no style must never be drawn in a style that nobody chose.
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
    is_served = () not in faults and default not in left_out
    return Mode(folder.name, spec, graphs, left_out, everything, is_served)


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
    graphs = dict(spec.graphs)
    if plain := spec.graphs.get("plain"):
        values: dict[str, JsonValue] = {"checkpoint": own.checkpoint, "controlnet": own.controlnet}
        bound = {name: value for name, value in values.items() if name in plain.bind}
        scaled = {
            ratio: (round(w * own.base / 1024 / 8) * 8, round(h * own.base / 1024 / 8) * 8)
            for ratio, (w, h) in plain.sizes.items()
        }
        settings = {**plain.settings, **bound}
        update = {"model": own.checkpoint, "sizes": scaled, "settings": settings}
        graphs["plain"] = plain.model_copy(update=update)
    styles = {
        name: style.model_copy(update={"graph": "plain", "settings": {}, "ranges": {}})
        for name, style in spec.styles.items()
    }
    return spec.model_copy(update={"graphs": graphs, "styles": styles})
