"""Check whole modes against ComfyUI's node definitions: every fault of every one."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gpu_server.comfy.answers import NodeFault
from gpu_server.comfy.model_files import missing_models
from gpu_server.comfy.object_info import CIRCLE, Definition, faults_in
from gpu_server.comfy.styles import (
    StyleState,
    lacks_controlnet,
    samples,
    state_of,
    too_old,
    variants,
)
from workflows.catalog import Catalog, Mode
from workflows.graph import Graph, find_input, title_of
from workflows.spec import CatalogError, GraphSpec


@dataclass(frozen=True)
class ModeFault:
    """One fault of a mode; `node` and `node_class` are empty when no node is at fault."""

    mode: str
    reason: str
    node: str = ""
    node_class: str = ""


def faults_of(
    catalog: Catalog,
    definitions: Mapping[str, Definition],
    names: Collection[str] = (),
    *,
    packs: Collection[str] = (),
) -> list[ModeFault]:
    """Return the faults of these modes, or of all, broken ones included.

    `packs` are the node packs whose nodes a graph may have. A model file that this ComfyUI lacks is
    no fault of a mode: see `states_of`.
    """
    known = {**{mode.name: mode.faults for mode in catalog}, **catalog.broken}
    found = [ModeFault(name, text) for name, texts in known.items() for text in texts]
    for mode in (*catalog, *catalog.unfit.values()):
        found += _faults_in_nodes(mode, definitions, packs)
    return [fault for fault in dict.fromkeys(found) if not names or fault.mode in names]


def states_of(
    mode: Mode,
    definitions: Mapping[str, Definition],
    *,
    packs: Collection[str] = (),
    version: str = "",
) -> dict[str, StyleState]:
    """Return for each style whether a ComfyUI of this version and with these can draw it now."""
    (graphs, unfit), old = samples([mode]), too_old(mode, version)
    fit = {
        (name, style): state_of(style, graph, faults_in(graph, definitions, packs), too_old=old)
        for (name, style), graph in graphs.items()
    }
    return {style: {**fit, **unfit}[mode.name, style] for style in mode.styles}


def _faults_in_nodes(
    mode: Mode, definitions: Mapping[str, Definition], packs: Collection[str]
) -> Iterator[ModeFault]:
    """Check the graphs as the styles draw with them; those of no style as they are exported."""
    styles = mode.styles if mode.is_served else {}
    graphs, unfit = samples([mode] if mode.is_served else [])
    for (_, style), state in unfit.items():
        yield ModeFault(mode.name, f"{mode.name}/mode.toml: the style '{style}': {state.reason}")
    for _, style in graphs:
        for graph in variants(mode, style):
            faults = faults_in(graph, definitions, packs)
            yield from _named(mode, mode.graph_spec(style).file, graph, faults)
    drawn = {style.graph for style in styles.values()}
    for name, graph in mode.graphs.items():
        if name not in drawn:
            spec = mode.spec.graphs[name]
            faults = faults_in(graph, definitions, packs)
            yield from _named(mode, spec.file, graph, faults, _bound(graph, spec))


def _named(
    mode: Mode,
    file: str,
    graph: Graph,
    faults: Sequence[NodeFault],
    bound: Collection[tuple[str, str]] = (),
) -> Iterator[ModeFault]:
    for fault in faults:
        if (fault.node_id, fault.field) in bound or _is_of_this_host(fault):
            continue
        if fault.message.startswith(CIRCLE):
            continue  # told by the catalogue
        node = graph[fault.node_id]
        title = f" '{title_of(node)}'" if title_of(node) else ""
        field = f": '{fault.field}'" if fault.field else ""
        message = fault.message
        if fault.missing_choice is not None:
            field += f" = '{fault.missing_choice[:80]}'"
            message += "; this ComfyUI may be too old for it"
        reason = f"node {fault.node_id}{title} ({node['class_type']}){field} {message}"
        where = f"{mode.name}/{file}"
        yield ModeFault(mode.name, f"{where}: {reason}", fault.node_id, node["class_type"])


def _bound(graph: Graph, spec: GraphSpec) -> set[tuple[str, str]]:
    """Return the inputs whose values in the file are replaced when a picture is drawn."""
    found = set()
    for target in (target for value in spec.bind for target in spec.targets(value)):
        try:
            found.add(find_input(graph, target))
        except CatalogError:
            continue  # told by the catalogue
    return found


def _is_of_this_host(fault: NodeFault) -> bool:
    return bool(missing_models([fault])) or lacks_controlnet(fault)
