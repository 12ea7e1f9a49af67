"""The model files that a graph loads, and what to do about missing ones."""

from collections.abc import Iterable, Sequence

from gpu_server.comfy.answers import NodeFault
from gpu_server.models.manifest import Manifest, load_manifest
from workflows.graph import Graph

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
_UNKNOWN_BYTES = 8 * 10**9
"""Taken as the size of a file that is in no manifest: that of a large checkpoint."""


def know(manifest: Manifest) -> None:
    """Take sizes, and which files can be pulled, from this manifest from now on."""
    _sizes.clear()
    _sizes.update(
        {file.dest.partition("/")[2]: file.size or _UNKNOWN_BYTES for file in manifest.files}
    )


_sizes: dict[str, int] = {}
know(load_manifest())


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


def largest_to_load(graph: Graph, node_id: str, *, is_loaded: bool) -> int:
    """Return the bytes of the largest model file that this node may have to load now.

    ComfyUI moves weights to the GPU in the first node that uses them, not in their loader; once
    `is_loaded`, only files that the node itself names count.
    """
    names = _named_by(graph[node_id]["inputs"].values())
    if not names and not is_loaded:
        names = _named_by(
            v for key in _above(graph, node_id) for v in graph[key]["inputs"].values()
        )
    return max((_sizes.get(name, _UNKNOWN_BYTES) for name in names), default=0)


def _named_by(values: Iterable[object]) -> list[str]:
    return [value for value in values if isinstance(value, str) and value.endswith(SUFFIXES)]


def _above(graph: Graph, node_id: str) -> set[str]:
    """Return the nodes that this one gets its inputs from, near and far."""
    seen: set[str] = set()
    waiting = [node_id]
    while waiting:
        links = (v for v in graph[waiting.pop()]["inputs"].values() if isinstance(v, list) and v)
        waiting += (new := {str(v[0]) for v in links} & graph.keys() - seen)
        seen |= new
    return seen


def missing_models(faults: Iterable[NodeFault]) -> tuple[str, ...]:
    names = (fault.missing_choice or "" for fault in faults)
    return tuple(dict.fromkeys(name for name in names if name.endswith(SUFFIXES)))


def advice(names: Sequence[str], style: str = "") -> str:
    """Say that ComfyUI lacks these model files, and how to get them."""
    lack = f"ComfyUI has no {', '.join(sorted(names))}"
    if not _sizes.keys() >= set(names):
        return (
            f"{lack}, and no list of models names it; fetch it with `./startup.sh models add URL "
            "--to FOLDER`, or put it into the folder of ComfyUI's models where its loader looks"
        )
    return f"{lack}; fetch it with `./startup.sh models pull{style and f' --style {style}'}`"
