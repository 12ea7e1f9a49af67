"""Execute one graph: order its nodes, cache by content, and send the client its frames."""

import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gpu_server.sketch.faults import Faults, NodeFaultError
from gpu_server.sketch.folders import Folders
from gpu_server.sketch.graphs.definitions import Definitions
from gpu_server.sketch.graphs.graph import execution_order, signatures, source_of
from gpu_server.sketch.jobs.nodes import FUNCTIONS
from gpu_server.sketch.jobs.queue import Job, Result
from gpu_server.sketch.jobs.values import Context, Output, Overrides, Preview
from gpu_server.sketch.sockets import Sockets


@dataclass
class Environment:
    """What outlives a job; a restart replaces all of it."""

    folders: Folders
    definitions: Definitions
    faults: Faults
    sockets: Sockets
    interrupt: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    cache: dict[str, tuple[str, Output]] = field(default_factory=dict)
    """What nodes returned, and the ids of those nodes, by their signatures."""


class InterruptedJobError(Exception):
    """The job was interrupted by POST /interrupt."""


class AbandonedJobError(Exception):
    """The engine restarted under the job, which must neither send nor record anything now."""


class Execution:
    """One run of one job."""

    def __init__(self, job: Job, environment: Environment) -> None:
        """Read the job.

        Raises:
            TypeError, KeyError, AttributeError, RecursionError: The job passed validation but is
                ill-formed in a way that ends ComfyUI's worker thread for good.
        """
        self._job = job
        self._env = environment
        self.client: str | None = job.extra_data.get("client_id")
        self._overrides = Overrides.of(job.extra_data)
        self._progress: dict[str, dict[str, Any]] = {}
        self._messages: list[tuple[str, dict[str, Any]]] = []
        self._executed: list[str] = []
        self._signatures = signatures(job.graph, self._changes)

    def run(self) -> Result:
        """Execute every output; what a node raises becomes the result.

        Raises:
            AbandonedJobError: The engine stopped or restarted.
        """
        self._record("execution_start", {})
        cache = self._env.cache
        for stale in cache.keys() - set(self._signatures.values()):
            del cache[stale]
        cached = [node_id for node_id in self._job.graph if self._signatures[node_id] in cache]
        self._record("execution_cached", {"nodes": cached})
        order = execution_order(
            self._job.graph, self._job.outputs, self._is_cached, self._is_output
        )
        success = all(self._survive(node_id) for node_id in order)
        if success:
            self._record("execution_success", {})
        self._env.sockets.executing(self.client, None)
        return self._result(success)

    def _is_cached(self, node_id: str) -> bool:
        return self._signatures[node_id] in self._env.cache

    def _is_output(self, node_id: str) -> bool:
        spec = self._env.definitions.spec(self._job.graph[node_id]["class_type"])
        return spec is not None and spec.is_output

    def _changes(self, node: dict[str, Any]) -> Any:
        """Return what counts as content beyond the inputs (ComfyUI's IS_CHANGED)."""
        match node["class_type"]:
            case "LoadImage" | "LoadImageMask":
                path = self._env.folders.input_image(node["inputs"].get("image"))
                digest = hashlib.sha256(path.read_bytes()).hexdigest() if path else ""
                node["is_changed"] = [digest]
                return digest
            case "SaveImageWebsocket":
                return [self._job.prompt_id, time.time_ns()]  # always runs
            case "KSampler":
                return [self._overrides.style, self._overrides.prompt]
            case _:
                return None

    def _survive(self, node_id: str) -> bool:
        """Execute a node. Raises what ends the worker thread if the fault `worker_dies` strikes."""
        success = self._execute(node_id)
        if self._env.faults.strikes("worker_dies"):
            raise RuntimeError("the worker thread ends between two nodes")
        return success

    def _execute(self, node_id: str) -> bool:
        if self._is_cached(node_id):
            self._reuse(node_id)
            return True
        inputs: dict[str, Any] = {}
        try:
            self._set_progress(node_id, 0.0, 1.0, "running")
            inputs = self._inputs(node_id)
            self._env.sockets.executing(self.client, node_id)
            self._send_to_client("executing", {"node": node_id, "display_node": node_id})
            self._checkpoint()
            node = self._job.graph[node_id]
            output = FUNCTIONS[node["class_type"]](inputs, self._context(node_id))
        except InterruptedJobError:
            self._fail("execution_interrupted", node_id, {}, to_all=True)
            return False
        except AbandonedJobError:
            raise
        except Exception as error:  # a node may raise anything; the client is told
            self._fail("execution_error", node_id, _described(error, inputs))
            return False
        self._env.cache[self._signatures[node_id]] = node_id, output
        if output.ui is not None:
            self._send_to_client("executed", _executed(node_id, output.ui))
        self._executed.append(node_id)
        self._finish_progress(node_id)
        return True

    def _reuse(self, node_id: str) -> None:
        _, output = self._env.cache[self._signatures[node_id]]
        if output.ui and self._env.faults.strikes("cached_file_gone"):
            for image in output.ui["images"]:
                folder = self._env.folders[image["type"]] / image["subfolder"]
                (folder / image["filename"]).unlink(missing_ok=True)
        self._send_to_client("executed", _executed(node_id, output.ui))
        self._finish_progress(node_id)

    def _inputs(self, node_id: str) -> dict[str, Any]:
        """Resolve the links in a node's inputs; defaults are left to the node."""
        values: dict[str, Any] = {}
        for name, value in self._job.graph[node_id]["inputs"].items():
            source = source_of(value, self._job.graph)
            if source is None:
                values[name] = value
            else:
                _, output = self._env.cache[self._signatures[source]]
                values[name] = output.slots[value[1]]
        return values

    def _context(self, node_id: str) -> Context:
        return Context(
            folders=self._env.folders,
            faults=self._env.faults,
            overrides=self._overrides,
            graph=self._job.graph,
            texts=self._job.extra_data.get("extra_pnginfo") or {},
            progress=partial(self._advance, node_id),
            watched=lambda: self._env.sockets.is_connected(self.client),
        )

    def _advance(self, node_id: str, value: int, maximum: int, preview: Preview | None) -> None:
        self._checkpoint()
        self._set_progress(node_id, value, maximum, "running")
        data = {"value": value, "max": maximum, "prompt_id": self._job.prompt_id, "node": node_id}
        if preview is None:
            self._send("progress", data)
        elif self._env.sockets.wants_metadata(self.client):
            self._send_preview(node_id, *preview())
            self._send("progress", data)
        else:
            self._send("progress", data)
            self._send_preview(node_id, *preview())

    def _send_preview(self, node_id: str, kind: str, image: bytes) -> None:
        self._env.sockets.send_preview(kind, image, self._identity(node_id), self.client)

    def _identity(self, node_id: str) -> dict[str, Any]:
        return {
            "node_id": node_id,
            "prompt_id": self._job.prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }

    def _set_progress(self, node_id: str, value: float, maximum: float, state: str) -> None:
        entry = {"value": value, "max": maximum, "state": state, **self._identity(node_id)}
        self._progress[node_id] = entry
        self._send("progress_state", {"prompt_id": self._job.prompt_id, "nodes": self._progress})

    def _finish_progress(self, node_id: str) -> None:
        maximum = self._progress[node_id]["max"] if node_id in self._progress else 1
        self._set_progress(node_id, maximum, maximum, "finished")

    def _checkpoint(self) -> None:
        self._env.faults.hold("frozen", self._env.stopped)
        if self._env.interrupt.is_set():
            raise InterruptedJobError

    def _send(self, event: str, data: Mapping[str, Any]) -> None:
        if self._env.stopped.is_set():
            raise AbandonedJobError
        self._env.sockets.send(event, data, self.client)

    def _send_to_client(self, event: str, data: dict[str, Any]) -> None:
        if self.client is not None:
            self._send(event, {**data, "prompt_id": self._job.prompt_id})

    def _record(self, event: str, data: dict[str, Any], *, to_all: bool = False) -> None:
        """Send an event and keep it for the history."""
        message = {**data, "prompt_id": self._job.prompt_id, "timestamp": int(time.time() * 1000)}
        self._messages.append((event, message))
        if self.client is not None or to_all:
            self._send(event, message)

    def _fail(
        self, event: str, node_id: str, details: dict[str, Any], *, to_all: bool = False
    ) -> None:
        data = {
            "node_id": node_id,
            "node_type": self._job.graph[node_id]["class_type"],
            "executed": self._executed,
            **details,
        }
        if event == "execution_error":
            data["current_outputs"] = list(self._job.graph)
        self._record(event, data, to_all=to_all)

    def _result(self, success: bool) -> Result:
        outputs: dict[str, Any] = {}
        meta: dict[str, Any] = {}
        for node_id in filter(self._is_cached, self._signatures):
            executed_as, output = self._env.cache[self._signatures[node_id]]
            if output.ui is not None:
                outputs[node_id] = output.ui
                meta[node_id] = {
                    "node_id": executed_as,
                    "display_node": executed_as,
                    "parent_node": None,
                    "real_node_id": executed_as,
                }
        return Result(success, self._messages, outputs, meta)


def _executed(node_id: str, ui: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"node": node_id, "display_node": node_id, "output": ui}


def _described(error: Exception, inputs: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(error, NodeFaultError):
        kind = error.kind
    else:
        kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    tip = ""
    if kind == "torch.OutOfMemoryError":
        tip = "This error means you ran out of memory on your GPU."
    return {
        "exception_message": f"{error}\n{tip}",
        "exception_type": kind,
        "traceback": [],
        "current_inputs": {name: [_plain(value)] for name, value in inputs.items()},
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return f"<{type(value).__name__}>"
