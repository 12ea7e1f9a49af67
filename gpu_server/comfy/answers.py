"""ComfyUI's answers as data and exceptions, as observed on ComfyUI 0.3.64."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from workflows.graph import Graph


class ComfyError(Exception):
    pass


class Unreachable(ComfyError):
    """No answer, or one that only a broken server gives."""


class Refused(Unreachable):
    """Nothing listens there: the request was not received."""


class Strange(Unreachable):
    """An answer that no ComfyUI gives: another program has its port."""


class PostUnknown(Unreachable):
    """The fate of a POST /prompt is unknown: it may have been queued."""


class FileGone(ComfyError):
    """An output file no longer exists."""


@contextmanager
def reading(request: str) -> Iterator[None]:
    """Raise Strange if an answer is not shaped like ComfyUI's."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise Strange(f"{request}: not as ComfyUI answers") from error


@dataclass(frozen=True)
class NodeFault:
    """One input that ComfyUI refuses; its text says which, and why."""

    node_id: str
    node_class: str
    field: str
    message: str
    missing_choice: str | None = None
    """The value, where it is not among the choices: such as a model that is not installed."""

    def __str__(self) -> str:
        where = f" '{self.field}'" if self.field else ""
        return f"node '{self.node_class}'{where} {self.message}"


class GraphRefused(ComfyError):
    """ComfyUI does not accept the graph."""

    def __init__(self, message: str, faults: list[NodeFault]) -> None:
        super().__init__(message)
        self.faults = faults


@dataclass(frozen=True)
class OutputFile:
    node_id: str
    filename: str
    subfolder: str
    folder: str
    """`input`, `output` or `temp`."""


@dataclass(frozen=True)
class HistoryEntry:
    """How a prompt ended, with its outputs in ComfyUI's order."""

    status: Literal["success", "error", "interrupted"]
    outputs: tuple[OutputFile, ...] = ()
    exception_type: str = ""
    exception_message: str = ""
    node_class: str = ""


@dataclass(frozen=True)
class Queue:
    """The prompt ids that run and those that wait."""

    running: frozenset[str] = frozenset()
    pending: tuple[str, ...] = ()

    def __contains__(self, prompt_id: str) -> bool:
        return prompt_id in self.running or prompt_id in self.pending


@dataclass(frozen=True)
class EngineInfo:
    """Who answers; `boot_id` changes with every start and is empty without our nodes."""

    name: str
    version: str
    boot_id: str = ""
    has_our_nodes: bool = False
    worker_alive: bool | None = None
    """Whether the thread that runs prompts lives; None where ComfyUI does not say."""


def refusal(graph: Graph, answer: Mapping[str, Any], status: int) -> GraphRefused:
    """Return the error that an answer of `POST /prompt` stands for."""
    error = answer.get("error") or {}
    faults = [
        _node_fault(graph, node_id, fault)
        for node_id, node in (answer.get("node_errors") or {}).items()
        for fault in node.get("errors", ())
    ]
    message = "; ".join(f"{f.node_class}: {f.field}: {f.message}" for f in faults)
    general = str(error.get("message") or f"ComfyUI refused the graph with {status}")
    return GraphRefused(message or general, faults)


def _node_fault(graph: Graph, node_id: str, fault: Mapping[str, Any]) -> NodeFault:
    node = graph.get(node_id, {})
    extra = fault.get("extra_info") or {}
    name = str(extra.get("input_name", ""))
    value = node.get("inputs", {}).get(name)
    is_missing = fault.get("type") == "value_not_in_list" and isinstance(value, str)
    title = node.get("_meta", {}).get("title", "")
    return NodeFault(
        node_id=node_id,
        node_class=title or str(node.get("class_type", "")),
        field=name,
        message=str(fault.get("message", "")),
        missing_choice=value if is_missing else None,
    )


def output_files(node_id: str, output: Mapping[str, Any]) -> tuple[OutputFile, ...]:
    """Read a node's output as the history and the frames show it."""
    return tuple(
        OutputFile(node_id, str(file["filename"]), str(file["subfolder"]), str(file["type"]))
        for file in output.get("images") or ()
    )


def history_entry(entry: Mapping[str, Any]) -> HistoryEntry:
    """Read an entry of `GET /history`."""
    status = entry.get("status") or {}
    outputs = tuple(
        file
        for node_id, output in (entry.get("outputs") or {}).items()
        for file in output_files(node_id, output)
    )
    if status.get("status_str") == "success":
        return HistoryEntry("success", outputs)
    messages = status.get("messages") or []
    kind, data = messages[-1] if messages else ("", {})
    if kind == "execution_interrupted":
        return HistoryEntry("interrupted", outputs)
    return failed_entry(data, outputs)


def failed_entry(data: Mapping[str, Any], outputs: tuple[OutputFile, ...] = ()) -> HistoryEntry:
    """Read the data of an `execution_error`, leaving out traceback, paths and inputs."""
    return HistoryEntry(
        "error",
        outputs,
        exception_type=str(data.get("exception_type", "")),
        exception_message=str(data.get("exception_message", "")).strip(),
        node_class=str(data.get("node_type", "")),
    )
