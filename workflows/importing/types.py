"""What an import takes and gives: a document, a graph with what belongs to it, or every reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from workflows.graph import Graph

Definitions = Mapping[str, Mapping[str, Any]]
"""Node definitions by class, as ComfyUI's `/object_info` has them; fields may be missing."""

MEGABYTE = 1024 * 1024
LARGEST_FILE = 50 * MEGABYTE
MOST_NODES = 10_000
MOST_LINKS = 50_000
MOST_SLOTS = 1_000
"""How many inputs a node, or a subgraph, may have."""
MOST_STEPS = 200
"""How many reroutes, subgraph borders and bypassed nodes a link may pass."""


@dataclass(frozen=True)
class Document:
    """One workflow as its file has it. `name` is the file's name without folders and suffix."""

    name: str
    format: Literal["ui", "api"]
    content: dict[str, Any] = field(repr=False)
    ui: dict[str, Any] | None = field(default=None, repr=False)
    """The same workflow in UI format, where the file carries both: titles, models and packs."""


@dataclass(frozen=True)
class ModelFile:
    """A model that the workflow says it needs; what the file does not tell is empty."""

    name: str
    url: str
    directory: str
    hash: str
    """Hexadecimal SHA-256, or empty."""


@dataclass(frozen=True)
class Imported:
    """A graph in API format, complete, with what its file tells about it."""

    graph: Graph
    models: tuple[ModelFile, ...] = ()
    packs: dict[str, str] = field(default_factory=dict)
    """The custom node classes of the graph: class → `pack version`, empty where unknown."""
    left: tuple[str, ...] = ()
    """What was dropped or changed on the way, a sentence each."""
    least_version: str = ""
    """The newest ComfyUI that a node was saved with, such as `0.3.64`; empty if unknown."""


@dataclass(frozen=True)
class Reason:
    """Why a workflow cannot become a mode; `node` (its id) and `class_` may be empty."""

    node: str
    class_: str
    reason: str

    def __str__(self) -> str:
        where = f"node {self.node} ({self.class_}): " if self.node else ""
        return where + self.reason


class NotAMode(Exception):
    """The workflow cannot become a mode. Carries every reason."""

    def __init__(self, *reasons: Reason) -> None:
        super().__init__("\n".join(map(str, reasons)))
        self.reasons = reasons


def refusal(reason: str, node: str = "", class_: str = "") -> NotAMode:
    return NotAMode(Reason(short(node), short(class_), reason))


def short(text: object) -> str:
    """Return what a stranger's file calls something, fit for one line of a message."""
    line = "".join(letter if letter.isprintable() else "?" for letter in str(text)[:80])
    return line if len(line) < 80 else line[:77] + "..."
