"""Render a checked request to the graph that ComfyUI runs. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from workflows.catalog import Mode
from workflows.graph import Graph, downstream, find_input, source_of
from workflows.parameters import Request
from workflows.spec import Scalar

OUTPUT_CLASSES = ("SaveImage", "PreviewImage", "EaselOutput")


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
    width: int
    height: int


def size_of(mode: Mode, request: Request, photo: tuple[int, int] | None = None) -> tuple[int, int]:
    """Choose the width and height of the image, in pixels.

    The request's own size wins; otherwise the proportions of a photo (given by its width and
    height) at the model's pixel count; otherwise the first of the style's sizes.
    """
    if "width" in request.values:
        return int(request.values["width"]), int(request.values["height"])
    spec = mode.graph_spec(request.style)
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
    size: tuple[int, int],
    prefix: str,
    image: str = "",
    output_class: str = "SaveImage",
) -> Rendered:
    """Build the graph for `request`.

    `size` comes from `size_of`. `prefix` is the folder in the `filename_prefix` of each output,
    `image` the name ComfyUI gave the uploaded photo, and `output_class` the node that replaces the
    exported SaveImage. Raises RenderError when a value is missing or nothing takes it.
    """
    if output_class not in OUTPUT_CLASSES:
        raise RenderError(f"'{output_class}' is not one of {', '.join(OUTPUT_CLASSES)}")
    graph = mode.graph(request.style)
    values = _graph_values(mode, request, size)
    if mode.takes_image:
        if not image:
            raise RenderError(f"the mode '{mode.name}' needs an image")
        values["image"] = image
    bind = mode.graph_spec(request.style).bind
    for name, value in values.items():
        if name not in bind:
            raise RenderError(f"nothing in the graph takes '{name}'")
        key, entry = find_input(graph, bind[name])
        graph[key]["inputs"][entry] = value
    seeds = tuple(request.seed + k for k in range(request.count))
    if len(seeds) > 1:
        graph = _fan_out(graph, bind["seed"], seeds)
    outputs = _set_outputs(graph, prefix, output_class)
    return Rendered(graph, outputs, seeds, *size)


def _graph_values(mode: Mode, request: Request, size: tuple[int, int]) -> dict[str, Scalar]:
    style = mode.styles[request.style]
    spec = mode.graph_spec(request.style)
    values = {
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
    for name, pixels in zip(("width", "height"), size, strict=True):
        if name in spec.bind:
            values[name] = pixels
    return {**mode.settings(request.style), **values}


def _fill(template: str, name: str, prompt: str) -> str:
    return template.replace("{" + name + "}", prompt.strip().rstrip(".,;")).strip(" ,.;")


def _fan_out(graph: Graph, seed_target: str, seeds: tuple[int, ...]) -> Graph:
    """Make one graph for several seeds: repeat what depends on the seed, share the rest.

    Image k is then exactly the image of its seed alone, unlike in a latent batch, and models are
    loaded and prompts encoded only once.
    """
    sampler, entry = find_input(graph, seed_target)
    repeated = downstream(graph, sampler)
    fanned: Graph = {key: node for key, node in graph.items() if key not in repeated}
    for k, seed in enumerate(seeds):
        names = {key: f"{key}.{k}" for key in repeated}
        for key, name in names.items():
            node = graph[key]
            inputs = {i: _relink(value, names) for i, value in node["inputs"].items()}
            fanned[name] = {**node, "inputs": inputs}
        fanned[names[sampler]]["inputs"][entry] = seed
    return fanned


def _relink(value: Any, names: Mapping[str, str]) -> Any:
    source = source_of(value)
    return value if source not in names else [names[str(source)], value[1]]


def _set_outputs(graph: Graph, prefix: str, output_class: str) -> tuple[str, ...]:
    """Replace every SaveImage by `output_class`; return their ids.

    An exported preview is taken out: nobody sees it, and its files would stay in ComfyUI.
    """
    for key in [key for key, node in graph.items() if node["class_type"] == "PreviewImage"]:
        del graph[key]
    outputs = tuple(key for key, node in graph.items() if node["class_type"] == "SaveImage")
    for key in outputs:
        node = graph[key]
        node["class_type"] = output_class
        inputs = {"images": node["inputs"]["images"]}
        if output_class != "PreviewImage":
            inputs["filename_prefix"] = str(PurePosixPath(prefix) / f"image-{key}")
        node["inputs"] = inputs
    return outputs
