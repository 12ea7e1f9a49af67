"""The model files that a graph loads, and the settings that choose them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from workflows.importing import NotAMode, Reason
from workflows.proposing.net import Net, Slot

SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
_SETTINGS = {"ckpt_name": "checkpoint", "unet_name": "diffusion_model", "lora_name": "lora"}
_OUTSIDE = re.compile(r"(^|[/\\])\.\.([/\\]|$)|^[/\\~]|^[A-Za-z]:[/\\]|\0")


@dataclass(frozen=True)
class Loaded:
    """A model file by its name in ComfyUI's list, and the input that names it."""

    name: str
    slot: Slot


def loaded(net: Net) -> list[Loaded]:
    """Return every model file of the graph. Raises NotAMode for a name outside its folder."""
    found = list(_named(net))
    outside = [
        Reason(
            each.slot[0],
            net.class_of(each.slot[0]),
            f"its {each.slot[1]} leaves ComfyUI's folders: a file's name must be inside of them",
        )
        for each in found
        if _OUTSIDE.search(each.name)
    ]
    if outside:
        raise NotAMode(*outside)
    return [each for each in found if each.name.lower().endswith(SUFFIXES)]


def choices(net: Net, files: list[Loaded]) -> Iterator[tuple[str, Slot]]:
    """Yield the settings that choose models and LoRAs, with the inputs they go to."""
    seen: dict[str, int] = {}
    for each in files:
        key, entry = each.slot
        if (name := _SETTINGS.get(entry)) is None:
            continue
        seen[name] = number = seen.get(name, 0) + 1
        suffix = f"_{number}" if number > 1 else ""
        yield name + suffix, each.slot
        for strength in ("strength_model",) if name == "lora" else ():
            origin = net.origin((key, strength))
            if origin and isinstance(net.value(origin), int | float):
                yield f"lora_strength{suffix}", origin


def main_model(files: list[Loaded]) -> str:
    """Return the file that decides which model is on the GPU; empty if the graph loads none."""
    order = ("ckpt_name", "unet_name")
    first = sorted(files, key=lambda f: f.slot[1] not in order)
    return first[0].name if first else ""


def _named(net: Net) -> Iterator[Loaded]:
    for key, node in net.graph.items():
        for name, value in node["inputs"].items():
            if not isinstance(value, str):
                continue
            kind, options = net.spec((key, name))
            is_file = value.lower().endswith(SUFFIXES)
            if is_file or (kind == "COMBO" and not options.get("image_upload")):
                yield Loaded(value, (key, name))
