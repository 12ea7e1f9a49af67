"""The model files that a graph loads, and what to do about missing ones."""

from collections.abc import Iterable, Sequence
from functools import cache

from gpu_server.comfy.answers import NodeFault
from gpu_server.models.manifest import load_manifest
from workflows.catalog import Graph

LOADERS = (
    "CheckpointLoaderSimple",
    "UNETLoader",
    "CLIPLoader",
    "VAELoader",
    "ControlNetLoader",
    "ModelPatchLoader",
    "LoraLoaderModelOnly",
)
SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


def files_of(graph: Graph, node_class: str | None = None) -> list[str]:
    """Return the model files that the graph's loaders, or those of one class, load."""
    classes = LOADERS if node_class is None else (node_class,)
    names = [
        value
        for node in graph.values()
        if node["class_type"] in classes
        for value in node["inputs"].values()
        if isinstance(value, str) and value.endswith(SUFFIXES)
    ]
    return list(dict.fromkeys(names))


def missing_models(faults: Iterable[NodeFault]) -> tuple[str, ...]:
    names = (fault.missing_choice or "" for fault in faults)
    return tuple(dict.fromkeys(name for name in names if name.endswith(SUFFIXES)))


def advice(names: Sequence[str], style: str = "") -> str:
    """Say that ComfyUI lacks these model files, and how to get them."""
    lack = f"ComfyUI has no {', '.join(sorted(names))}"
    if not _published().issuperset(names):
        return f"{lack}; put it into the folder of ComfyUI's models where its loader looks"
    return f"{lack}; fetch it with `./startup.sh models pull{style and f' --style {style}'}`"


@cache
def _published() -> frozenset[str]:
    return frozenset(file.dest.partition("/")[2] for file in load_manifest().files)
