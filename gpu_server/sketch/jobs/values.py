"""What passes between nodes, and what a node may use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpu_server.sketch.draw import Control
from gpu_server.sketch.faults import Faults
from gpu_server.sketch.folders import Folders
from gpu_server.sketch.graphs.graph import Graph
from gpu_server.sketch.jobs.pictures import Picture

# Inputs and outputs differ from node to node; validation has checked their types.
Inputs = Mapping[str, Any]
Preview = Callable[[], tuple[str, bytes]]  # returns "jpeg" or "png", and the encoded image


@dataclass(frozen=True)
class Overrides:
    """The person's own style and prompt from `extra_data.easel`: a graph has them rewritten."""

    style: str | None = None
    prompt: str | None = None

    @classmethod
    def of(cls, extra_data: Mapping[str, Any]) -> "Overrides":
        """Read `extra_data.easel`; a value that is not text counts as absent."""
        easel = extra_data.get("easel")
        if not isinstance(easel, dict):
            return cls()
        style, prompt = easel.get("style"), easel.get("prompt")
        return cls(
            style if isinstance(style, str) else None, prompt if isinstance(prompt, str) else None
        )


@dataclass(frozen=True)
class Model:
    """Stands for a loaded model; a ControlNet patch sets `control`."""

    name: str
    control: Control | None = None


@dataclass(frozen=True)
class Conditioning:
    """A text for the sampler, and the picture that guides it."""

    text: str
    control: Control | None = None


@dataclass(frozen=True)
class Latent:
    """A size and a number of pictures; `drawn` once sampled."""

    width: int
    height: int
    batch: int
    drawn: list[Picture] = field(default_factory=list)


@dataclass(frozen=True)
class Output:
    """What a node returns: its slots, and for output nodes the UI part."""

    slots: tuple[Any, ...] = ()
    ui: dict[str, Any] | None = None


@dataclass(frozen=True)
class Context:
    """What a node may use: `progress(value, maximum, preview)` raises when interrupted.

    `graph` and `texts` go into the PNG files; `watched` says whether a preview would be seen.
    """

    folders: Folders
    faults: Faults
    overrides: Overrides
    graph: Graph
    texts: Mapping[str, Any]
    progress: Callable[[int, int, Preview | None], None]
    watched: Callable[[], bool]
