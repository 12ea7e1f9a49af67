"""A prompt's progress from ComfyUI's frames: one number for the whole job and a stage in words.

Pure: frames in, state out.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from gpu_server.comfy.model_files import LOADERS
from workflows.graph import Graph, Node

_STAGES = {
    **dict.fromkeys(LOADERS, "loading model"),
    "CLIPTextEncode": "encoding prompt",
    "LoadImage": "reading photo",
    "Canny": "finding edges",
    "KSampler": "sampling",
    "VAEDecode": "decoding",
    "SaveImage": "saving",
    "PreviewImage": "saving",
    "EaselOutput": "saving",
}
_LOADER_WEIGHT = 1.0
_OTHER_WEIGHT = 0.1
_DECODE_WEIGHT = 1.5


@dataclass
class Progress:
    """The state of one running graph. A sampler step weighs 1, other nodes relative to that."""

    graph: Graph
    fraction: float = 0.0
    stage: str = "waiting"
    model_s: float = 0.0
    """Seconds spent in loaders that have finished."""
    clock: float = field(default_factory=time.monotonic)
    """When the current node began; monotonic."""
    has_stepped: bool = False
    """Whether a node has told a step: the models it works with are loaded."""
    _done: float = 0.0
    _current: str | None = None
    _current_share: float = 0.0
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._weights = {key: _weight(node) for key, node in self.graph.items()}
        self._total = sum(self._weights.values()) or 1.0

    def cached(self, nodes: Iterable[str]) -> None:
        """Count these nodes as done: ComfyUI has their results cached."""
        for node in nodes:
            self._finish(str(node))
        self._update()

    @property
    def node(self) -> str | None:
        """The node that runs; None between two prompts, and before the first frame of a node."""
        return self._current

    def executing(self, node: str) -> None:
        """Begin this node; the one before it is done. Repeating the current one changes nothing."""
        if node == self._current:
            return
        self._close_current()
        self._current = node
        self.stage = self._name(node)
        self._update()

    def step(self, node: str, value: float, maximum: float) -> None:
        self.has_stepped = True
        if node != self._current:
            self.executing(node)
        self._current_share = value / maximum if maximum else 0.0
        name = self._name(node)
        self.stage = f"{name} {value:g}/{maximum:g}" if name == "sampling" else name
        self._update()

    def model_seconds(self, now: float) -> float:
        """Return the seconds spent loading models so far; `now` is monotonic."""
        loading = self._current is not None and self._class(self._current) in LOADERS
        return self.model_s + (now - self.clock if loading else 0.0)

    def end(self) -> None:
        self._close_current()
        self._current = None

    def _close_current(self) -> None:
        now = time.monotonic()
        if self._current is not None:
            if self._class(self._current) in LOADERS:
                self.model_s += now - self.clock
            self._finish(self._current)
        self.clock = now
        self._current_share = 0.0

    def _finish(self, node: str) -> None:
        if node not in self._seen:
            self._seen.add(node)
            self._done += self._weights.get(node, 0.0)

    def _update(self) -> None:
        running = self._weights.get(self._current or "", 0.0) * self._current_share
        self.fraction = max(self.fraction, min((self._done + running) / self._total, 1.0))

    def _class(self, node: str) -> str:
        return str(self.graph.get(node, {}).get("class_type", ""))

    def _name(self, node: str) -> str:
        title = self.graph.get(node, {}).get("_meta", {}).get("title", "")
        return _STAGES.get(self._class(node)) or str(title).lower() or "working"


def _weight(node: Node) -> float:
    node_class = node["class_type"]
    if node_class == "KSampler":
        return float(node["inputs"].get("steps", 20))
    if node_class == "VAEDecode":
        return _DECODE_WEIGHT
    return _LOADER_WEIGHT if node_class in LOADERS else _OTHER_WEIGHT
