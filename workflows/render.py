"""Render a checked request to the graph that ComfyUI runs. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from workflows.catalog import Mode
from workflows.graph import (
    Graph,
    downstream,
    find_input,
    picture_node,
    source_of,
    upstream,
)
from workflows.parameters import Request
from workflows.spec import GraphSpec

OUTPUT_CLASSES = ("SaveImage", "PreviewImage", "EaselOutput")
_LIST = "__value__"
"""In an object with this key ComfyUI takes a list as a value; any other list is a link."""


class RenderError(ValueError):
    """A request does not fit its mode's graph: a value is missing, or nothing takes it."""


@dataclass(frozen=True)
class Rendered:
    """A graph ready to be posted.

    Image k comes from the output node `outputs[k]` and has the seed `seeds[k]`.
    """

    graph: Graph
    outputs: tuple[str, ...]
    seeds: tuple[int, ...]


Size = tuple[int, int]


def size_of(mode: Mode, request: Request, photo: Size | None = None) -> Size | None:
    """Choose the width and height of the image, in pixels; None if the graph chooses them.

    The request's own size wins; otherwise the proportions of a photo (given by its width and
    height) at the model's pixel count; otherwise the first of the style's sizes.
    """
    spec = mode.graph_spec(request.style)
    if not spec.sizes:
        return None
    if "width" in request.values:
        return int(request.values["width"]), int(request.values["height"])
    width, height = next(iter(spec.sizes.values()))
    if photo is None:
        return width, height
    ratio = min(max(photo[0] / photo[1], 0.4), 2.5)
    side = spec.multiple_of
    fitted = (width * height * ratio) ** 0.5
    return round(fitted / side) * side, round(fitted / ratio / side) * side


def render(
    mode: Mode,
    request: Request,
    *,
    size: Size | None,
    prefix: str,
    photos: Mapping[str, str] | None = None,
    output_class: str = "SaveImage",
) -> Rendered:
    """Build the graph for `request`.

    `size` comes from `size_of`. `prefix` is the folder in the `filename_prefix` of each output,
    `photos` the names ComfyUI gave the uploaded photos, and `output_class` the node that replaces
    the exported output. Raises RenderError when a value is missing or nothing takes it.
    """
    if output_class not in OUTPUT_CLASSES:
        raise RenderError(f"'{output_class}' is not one of {', '.join(OUTPUT_CLASSES)}")
    spec = mode.graph_spec(request.style)
    photos = {name: file for name, file in (photos or {}).items() if name not in spec.ignores}
    whole, graph = mode.graph(request.style), mode.graph(request.style)
    graph = _needed(mode, spec, graph, photos)
    for name, value in (_graph_values(mode, request, size) | photos).items():
        if name not in spec.bind:
            raise RenderError(f"nothing in the graph takes '{name}'")
        for key, entry in (find_input(whole, target) for target in spec.targets(name)):
            if key in graph:  # else it is of no use without a photo that was not sent
                graph[key]["inputs"][entry] = {_LIST: value} if isinstance(value, list) else value
    seeds = tuple(request.seed + k for k in range(request.count))
    output = picture_node(graph, spec.output)
    outputs: tuple[str, ...] = (output,)
    if len(seeds) > 1:
        graph, outputs = _fan_out(graph, spec.targets("seed"), seeds, output)
    for key in outputs:
        _set_output(graph, key, prefix, output_class)
    return Rendered(graph, outputs, seeds)


def _needed(mode: Mode, spec: GraphSpec, graph: Graph, photos: Collection[str]) -> Graph:
    """Return the part of a graph that draws the picture from these photos."""
    for name, parameter in mode.photos.items():
        if name in photos or name not in spec.bind:
            continue
        if parameter.required:
            raise RenderError(f"the mode '{mode.name}' needs the photo '{name}'")
        for target in spec.targets(name):
            _leave_out(graph, find_input(graph, target)[0])
    needed = upstream(graph, picture_node(graph, spec.output))
    return {key: node for key, node in graph.items() if key in needed}


def _leave_out(graph: Graph, photo: str) -> None:
    """Take out the node of a photo that was not sent, and every node that had no other link."""
    out = [photo]
    while out:
        del graph[key := out.pop()]
        for name, node in graph.items():
            links = {entry: source_of(value) for entry, value in node["inputs"].items()}
            kept = {entry for entry, source in links.items() if source != key}
            if len(kept) < len(links):
                node["inputs"] = {entry: node["inputs"][entry] for entry in kept}
                if name not in out and all(source is None for source in map(links.get, kept)):
                    out.append(name)


def _graph_values(mode: Mode, request: Request, size: Size | None) -> dict[str, Any]:
    style = mode.styles[request.style]
    spec = mode.graph_spec(request.style)
    values: dict[str, Any] = {
        name: value
        for name, value in request.values.items()
        if name not in (*spec.ignores, "count", "width", "height")
    }
    for name, template in (("prompt", style.prompt), ("negative_prompt", style.negative_prompt)):
        if name in spec.bind:
            values[name] = _fill(template, name, str(values.get(name, "")))
    for name, (low, high) in style.ranges.items():
        if name in values:
            values[name] = round(low + (high - low) * float(values[name]), 4)
    for name, pixels in zip(("width", "height"), size or (), strict=False):
        if name in spec.bind:
            values[name] = pixels
    return {**mode.settings(request.style), **values}


def _fill(template: str, name: str, prompt: str) -> str:
    return template.replace("{" + name + "}", prompt.strip().rstrip(".,;")).strip(" ,.;")


def _fan_out(
    graph: Graph, seed_targets: tuple[str, ...], seeds: tuple[int, ...], output: str
) -> tuple[Graph, tuple[str, ...]]:
    """Make one graph for several seeds: repeat what depends on the seed, share the rest.

    Image k is then exactly the image of its seed alone, unlike in a latent batch, and models are
    loaded and prompts encoded only once. Return it with its output nodes.
    """
    seeded = [find_input(graph, target) for target in seed_targets]
    repeated = set().union(*(downstream(graph, key) for key, _ in seeded))
    fanned: Graph = {key: node for key, node in graph.items() if key not in repeated}
    for k, seed in enumerate(seeds):
        names = {key: f"{key}.{k}" for key in graph if key in repeated}
        for key, name in names.items():
            node = graph[key]
            inputs = {i: _relink(value, names) for i, value in node["inputs"].items()}
            fanned[name] = {**node, "inputs": inputs}
        for key, entry in seeded:
            fanned[names[key]]["inputs"][entry] = seed
    return fanned, tuple(f"{output}.{k}" for k in range(len(seeds)))


def _relink(value: Any, names: Mapping[str, str]) -> Any:
    source = source_of(value)
    return value if source not in names else [names[str(source)], value[1]]


def _set_output(graph: Graph, key: str, prefix: str, output_class: str) -> None:
    """Replace an output node by `output_class`."""
    inputs = {"images": graph[key]["inputs"]["images"]}
    if output_class != "PreviewImage":
        inputs["filename_prefix"] = str(PurePosixPath(prefix) / f"image-{key}")
    graph[key] = {**graph[key], "class_type": output_class, "inputs": inputs}
