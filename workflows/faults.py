"""Check graphs and styles against each other, as far as that goes without a ComfyUI. Pure."""

from collections.abc import Iterator

from workflows.graph import Graph, cycles, downstream, find_input, named
from workflows.spec import OWN_TYPES, CatalogError, GraphSpec, ModeSpec


def faults_in_graph(graph: Graph, spec: GraphSpec) -> Iterator[str]:
    """Find what keeps a graph from drawing one image per seed with its values bound."""
    for value, target in spec.bind.items():
        try:
            find_input(graph, target)
        except CatalogError as error:
            yield f"'{value}' is bound to '{target}', but {error}"
    for cycle in cycles(graph):
        yield f"its nodes {named(graph, cycle)} are linked in a circle"
    yield from _faults_in_output(graph, spec)


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


def faults_in_parameters(mode: ModeSpec) -> Iterator[str]:
    """Find parameters whose type is not the one that rendering expects of their names."""
    for name, parameter in mode.parameters.items():
        own = OWN_TYPES.get(name)
        if own is not None and parameter.type != own:
            yield f"parameters.{name}.type must be '{own}'"
        if own is None and parameter.type in ("seed", "image"):
            yield f"parameters.{name}: only '{parameter.type}' can be of that type"


def faults_in_style(mode: ModeSpec, name: str) -> Iterator[str]:
    """Find what a style sets and takes that its graph does not, and the other way round."""
    style, parameters = mode.styles[name], mode.parameters
    spec = mode.graphs[style.graph]
    for value in {**spec.settings, **style.settings}:
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
