"""Where a graph has its seed, size and sampler settings."""

import math
import re
from dataclasses import dataclass

from workflows.proposing.net import Net, Slot, is_link

_SEEDS = ("seed", "noise_seed")
_SETTINGS = {
    "steps": "steps", "cfg": "cfg", "guidance": "guidance", "sampler_name": "sampler",
    "scheduler": "scheduler", "denoise": "denoise", "shift": "shift",
}  # fmt: skip
_NEAR = ("GUIDER", "SAMPLER", "SIGMAS", "NOISE")
_SIDES = ("width", "height")
_ROUNDS = re.compile(r"//|& *-")
"""In an expression: it makes its number a multiple of another."""
_PICKER = "ResolutionSelector"


@dataclass(frozen=True)
class Extent:
    """The inputs that set the picture's size, and the size that the workflow has."""

    width: tuple[Slot, ...]
    height: tuple[Slot, ...]
    size: tuple[int, int]
    step: int


def samplers(net: Net) -> list[str]:
    """Return the nodes that turn noise into a latent, those that others build on first."""
    found = [
        key
        for key in net.graph
        if net.gives(key, "LATENT")
        and any(
            net.output_kind(link.source, link.output) in ("GUIDER", "SIGMAS", "CONDITIONING")
            for link in net.links(key)
            if link.input not in ("vae", "samples")
        )
        and any("latent" in name for name in net.graph[key]["inputs"])
        and (net.links_of_kind(key, "MODEL") or net.links_of_kind(key, "GUIDER"))
    ]
    return sorted(found, key=lambda key: len(net.above(key)))


def seeds(net: Net) -> list[Slot]:
    """Return the inputs with seeds, that of the first sampler first."""
    first = samplers(net)
    near = [near for key in first for near in _around(net, key)]
    rest = [key for key in net.graph if key not in near]
    found = [
        origin
        for key in dict.fromkeys((*near, *rest))
        for name in net.graph[key]["inputs"]
        if name.rpartition(".")[2] in _SEEDS and net.kind((key, name)) == "INT"
        if net.value((key, "add_noise")) != "disable"
        if (origin := net.origin((key, name))) and isinstance(net.value(origin), int)
    ]
    return list(dict.fromkeys(found))


def settings(net: Net) -> dict[str, Slot]:
    """Return the settings of the first sampler: name → the input that has its value."""
    found: dict[str, Slot] = {}
    for sampler in samplers(net):
        for key in _around(net, sampler) + _models(net, sampler):
            for name in net.graph[key]["inputs"]:
                known = _SETTINGS.get(name)
                if known is None or known in found or (key == sampler and name == "shift"):
                    continue
                origin = net.origin((key, name))
                if origin and isinstance(net.value(origin), str | int | float):
                    found[known] = origin
    return found


def control_strength(net: Net) -> Slot | None:
    """Return how strongly the first ControlNet of the graph guides the picture."""
    for key in net.graph:
        if net.links_of_kind(key, "CONTROL_NET") or net.links_of_kind(key, "MODEL_PATCH"):
            origin = net.origin((key, "strength"))
            if origin and isinstance(net.value(origin), int | float):
                return origin
    return None


def _around(net: Net, sampler: str) -> list[str]:
    """Return a sampler and what it is put together from: guider, sigmas, noise."""
    found = [sampler]
    for key in found:
        for link in net.taken(key):
            kind = net.output_kind(link.source, link.output)
            is_guidance = kind == "CONDITIONING" and _has(net, link.source, "guidance")
            if (kind in _NEAR or is_guidance) and link.source not in found:
                found.append(link.source)
    return found


def _models(net: Net, sampler: str) -> list[str]:
    """Return the nodes that the model passes on its way to the sampler."""
    found = _around(net, sampler)
    start = len(found)
    for key in found:
        for link in net.taken(key):
            is_model = net.output_kind(link.source, link.output) == "MODEL"
            if is_model and link.source not in found:
                found.append(link.source)
    return found[start:]


def _has(net: Net, key: str, name: str) -> bool:
    return name in net.graph[key]["inputs"]


def extent(net: Net) -> Extent | None:
    """Return where the size of the first sampler's empty latent comes from, if it is set at all."""
    for sampler in samplers(net):
        for key in net.above(sampler):
            if not net.gives(key, "LATENT") or not all(_has(net, key, side) for side in _SIDES):
                continue
            if net.links_of_kind(key, "LATENT") or net.links_of_kind(key, "IMAGE"):
                continue
            return _extent_of(net, key)
    return None


def _extent_of(net: Net, key: str) -> Extent | None:
    sources = [_source(net, (key, side)) for side in _SIDES]
    values = [_pixels(net, (key, side)) for side in _SIDES]
    width, height = values
    if width is None or height is None or sources[0] == sources[1]:
        return None
    step = max(int(net.spec((key, side))[1].get("step") or 1) for side in _SIDES)
    slots = [
        tuple(
            dict.fromkeys(
                origin
                for other in net.graph
                if _has(net, other, side) and _pixels(net, (other, side)) == value
                if not net.links_of_kind(other, "IMAGE")
                if (origin := _bindable(net, (other, side)))
            )
        )
        for side, value in zip(_SIDES, values, strict=True)
    ]
    return Extent(slots[0], slots[1], (width, height), step)


def _bindable(net: Net, slot: Slot) -> Slot | None:
    """Return the input to set: the one with the plain value, or that which a picker feeds."""
    return net.origin(slot) or (slot if _pixels(net, slot) is not None else None)


def _source(net: Net, slot: Slot) -> object:
    value = net.value(slot)
    return net.origin(slot) if not is_link(value) else (value[0], value[1], net.origin(slot))


def _is_value(net: Net, key: str) -> bool:
    """Whether a node passes on a number as it is."""
    return list(net.graph[key]["inputs"]) == ["value"]


def _pixels(net: Net, slot: Slot) -> int | None:
    """Return the number of pixels that an input gets, plainly or from a picker of resolutions."""
    if origin := net.origin(slot):
        value = net.value(origin)
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    value = net.value(slot)
    if not is_link(value) or value[0] not in net.graph:
        return None
    if _ROUNDS.search(str(net.value((value[0], "expression")))):
        links = list(net.links(value[0]))
        return _pixels(net, (value[0], links[0].input)) if len(links) == 1 else None
    if _is_value(net, value[0]):
        return _pixels(net, (value[0], "value"))
    if net.class_of(value[0]) != _PICKER:
        return None
    ratio, pixels, multiple = (
        net.value((value[0], name)) for name in ("aspect_ratio", "megapixels", "multiple")
    )
    try:
        wide, high = (int(part) for part in str(ratio).split(" ")[0].split(":"))
        side = math.sqrt(float(pixels) * 1024 * 1024 / (wide * high))
        return round(side * (wide, high)[value[1]] / int(multiple or 8)) * int(multiple or 8)
    except (ValueError, TypeError, IndexError, ZeroDivisionError, OverflowError):
        return None
