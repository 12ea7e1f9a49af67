"""What an import takes and gives: a document, a graph with what belongs to it, or every reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workflows.graph import Graph

Definitions = Mapping[str, Mapping[str, Any]]
"""Node definitions by class, as ComfyUI gives them in `/object_info`; some fields may be missing."""


@dataclass(frozen=True)
class Document:
    """One workflow as its file has it: in UI format, or in API format.

    `content` is the parsed JSON object; `name` the file's name without folders and suffix.
    """

    name: str
    format: str
    """`ui` or `api`."""
    content: dict[str, Any] = field(repr=False)


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
    """The oldest ComfyUI that the workflow was saved for, such as `0.3.64`; empty if unknown."""


@dataclass(frozen=True)
class Reason:
    """Why a workflow cannot become a mode; `node` is its id and may be empty, as `class_`."""

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
