"""Check graphs and styles against each other, as far as that goes without a ComfyUI. Pure."""

import re
from collections.abc import Iterator

from workflows.graph import Graph, cycles, find_input, named, picture_node, upstream
from workflows.spec import IMAGE, OWN_TYPES, CatalogError, GraphSpec, ModeSpec

_FACES = re.compile(
    r"face.?swap|swap.?face|reactor|inswapper|facefusion|deepface|instant.?id|pulid|face.?id"
    r"|photo.?maker|infinite.?you",
    re.IGNORECASE,
)
"""Classes of nodes that put a person's face into another picture; no graph may have one."""


def faults_in_graph(graph: Graph, spec: GraphSpec) -> Iterator[str]:
    """Find what keeps a graph from drawing one image per seed with its values bound."""
    for value in spec.bind:
        for target in spec.targets(value):
            try:
                find_input(graph, target)
            except CatalogError as error:
                yield f"'{value}' is bound to '{target}', but {error}"
    for key, node in graph.items():
        if _FACES.search(node["class_type"]):
            swaps = "puts a person's face into another picture, which no mode may do"
            yield f"node {key} ({node['class_type']}) {swaps}"
    for cycle in cycles(graph):
        yield f"its nodes {named(graph, cycle)} are linked in a circle"
    if not spec.sizes and {"width", "height"} & spec.bind.keys():
        yield "it binds width or height, but has no sizes"
    yield from _faults_in_output(graph, spec)


def _faults_in_output(graph: Graph, spec: GraphSpec) -> Iterator[str]:
    """Require one output, and that all that is bound leads to it: the seed gives the image."""
    try:
        needed = upstream(graph, picture_node(graph, spec.output))
    except CatalogError as error:
        yield str(error)
        return
    for value in spec.bind:
        for target in spec.targets(value):
            try:
                key, _ = find_input(graph, target)
            except CatalogError:
                continue  # told with the bindings
            if key not in needed:
                yield f"its picture does not depend on '{target}', to which '{value}' is bound"


def faults_in_parameters(mode: ModeSpec) -> Iterator[str]:
    """Find parameters whose type is not the one that rendering expects of their names."""
    parameters = mode.parameters
    for name, parameter in parameters.items():
        own = OWN_TYPES.get(name)
        if own is not None and parameter.type != own:
            yield f"parameters.{name}.type must be '{own}'"
        if own is None and parameter.type in ("seed", "image", "mask"):
            names = [n for n, kind in OWN_TYPES.items() if kind == parameter.type]
            yield f"parameters.{name}: only {_either(names)} can be of that type"
        if parameter.is_photo and name != IMAGE and IMAGE not in parameters:
            yield f"parameters.{name} needs the parameter '{IMAGE}' beside it"
    if "count" in parameters and "seed" not in parameters:
        yield "parameters.count needs the parameter 'seed': one seed gives one picture"


def _either(names: list[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)


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
    if "count" in parameters and "seed" not in spec.bind:
        yield "cannot draw several pictures, as nothing is bound to 'seed'"
    for value in style.ranges:
        if value not in parameters:
            yield f"has a range for '{value}', which is not a parameter"
