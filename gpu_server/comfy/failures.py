"""Classify a failed prompt by ComfyUI's exception and word the error for users."""

from enum import Enum, auto

from gpu_server.comfy.answers import GraphRefused, HistoryEntry
from gpu_server.comfy.model_files import LOADERS, advice, files_of, missing_models
from web import errors
from workflows.graph import Graph

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
    """Classify an entry with the status `error`, as observed with ComfyUI 0.3.64 and torch 2."""
    kind, message = entry.exception_type, entry.exception_message
    low = message.lower()
    # On a CPU, out of memory is a RuntimeError.
    if kind.endswith("OutOfMemoryError") or any(sign in low for sign in _OUT_OF_MEMORY):
        return Failure.out_of_memory
    if any(sign in message for sign in _CUDA_FAULT):
        return Failure.cuda_fault
    if entry.node_class in LOADERS or "SafetensorError" in kind:
        return Failure.damaged_model
    return Failure.other


def error_of(failure: Failure, entry: HistoryEntry, graph: Graph) -> errors.EaselError:
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
            reason = shown(entry.exception_type, entry.exception_message)
            return errors.EngineError(f"ComfyUI failed in {entry.node_class or 'a node'}: {reason}")


def refused(refusal: GraphRefused) -> errors.EaselError:
    missing = missing_models(refusal.faults)
    if missing:
        return errors.ModelMissing(advice(missing))
    return errors.EngineError(f"ComfyUI does not accept this graph: {refusal}")


def shown(kind: str, message: str) -> str:
    """Word an exception of ComfyUI for a person: its first line, without paths."""
    line = message.splitlines()[0] if message else ""
    words = ["…" if "/" in word or "\\" in word else word for word in line.split()]
    return f"{kind.rpartition('.')[2]}: {' '.join(words)}"[:300].removesuffix(": ")
