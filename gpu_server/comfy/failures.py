"""What a failed prompt died of, told from ComfyUI's exception; and how that is put in words."""

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from functools import cache

from gpu_server.comfy.answers import GraphRefused, HistoryEntry, NodeFault
from gpu_server.comfy.progress import LOADERS
from gpu_server.models.manifest import load_manifest
from web import errors
from workflows.catalog import Graph

MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")

_OUT_OF_MEMORY = ("out of memory", "can't allocate mem", "allocation on device")
_CUDA_FAULT = (
    "CUDA error",
    "illegal memory access",
    "device-side assert",
    "cuDNN error",
    "CUBLAS_STATUS",
    "HIP error",
)


class Failure(Enum):
    out_of_memory = auto()
    cuda_fault = auto()
    damaged_model = auto()
    other = auto()


def failure_of(entry: HistoryEntry) -> Failure:
    """Seen with ComfyUI 0.3.64 and torch 2: OOM also comes as a RuntimeError (on a CPU)."""
    kind, message = entry.exception_type, entry.exception_message
    low = message.lower()
    if kind.endswith("OutOfMemoryError") or any(sign in low for sign in _OUT_OF_MEMORY):
        return Failure.out_of_memory
    if any(sign in message for sign in _CUDA_FAULT):
        return Failure.cuda_fault
    if entry.node_class in LOADERS or "SafetensorError" in kind:
        return Failure.damaged_model
    return Failure.other


def error_of(failure: Failure, entry: HistoryEntry, graph: Graph) -> errors.EaselError:
    """The error a job ends with that was not, or in vain, tried again."""
    match failure:
        case Failure.out_of_memory:
            return errors.OutOfMemory(
                "The GPU's memory is not enough for this; try a smaller size or fewer pictures"
            )
        case Failure.cuda_fault:
            return errors.EngineError("The GPU reported a fault; ComfyUI must be restarted")
        case Failure.damaged_model:
            names = ", ".join(files_of(graph, entry.node_class)) or "a model file"
            return errors.ModelMissing(
                f"{names} is damaged; run `./startup.sh models verify` and pull it again"
            )
        case _:
            said = shown(entry.exception_type, entry.exception_message)
            return errors.EngineError(f"ComfyUI failed in {entry.node_class or 'a node'}: {said}")


def refused(refusal: GraphRefused) -> errors.EaselError:
    """The error of a graph that ComfyUI does not take."""
    missing = missing_models(refusal.faults)
    if missing:
        return errors.ModelMissing(lacking(missing))
    return errors.EngineError(f"ComfyUI does not take this graph: {refusal}")


def missing_models(faults: Iterable[NodeFault]) -> tuple[str, ...]:
    """The model files among what ComfyUI does not have."""
    names = (fault.missing_choice or "" for fault in faults)
    return tuple(dict.fromkeys(name for name in names if name.endswith(MODEL_SUFFIXES)))


def lacking(names: Sequence[str], style: str = "") -> str:
    """That ComfyUI has no such model files, and what to do about it."""
    said = f"ComfyUI has no {', '.join(sorted(names))}"
    if not _published().issuperset(names):
        return f"{said}; put it into the folder of ComfyUI's models where its loader looks"
    return f"{said}; fetch it with `./startup.sh models pull{style and f' --style {style}'}`"


@cache
def _published() -> frozenset[str]:
    """Names of the files that `models pull` can fetch."""
    return frozenset(file.dest.partition("/")[2] for file in load_manifest().files)


def files_of(graph: Graph, node_class: str | None = None) -> list[str]:
    """The model files that the graph's loaders, or those of one class, load."""
    classes = LOADERS if node_class is None else (node_class,)
    found = [
        value
        for node in graph.values()
        if node["class_type"] in classes
        for value in node["inputs"].values()
        if isinstance(value, str) and value.endswith(MODEL_SUFFIXES)
    ]
    return list(dict.fromkeys(found))


def shown(kind: str, message: str) -> str:
    """An exception of ComfyUI as a person may see it: its first line, without paths."""
    line = message.splitlines()[0] if message else ""
    words = ["…" if "/" in word or "\\" in word else word for word in line.split()]
    return f"{kind.rpartition('.')[2]}: {' '.join(words)}"[:300].removesuffix(": ")
