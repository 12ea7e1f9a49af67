"""ComfyUI over HTTP: moves bytes, knows what its answers mean, decides nothing.

What is checked here was seen on ComfyUI 0.3.64. Exceptions:

    ComfyError
    ├── Unreachable      no answer, or one that only a broken server gives
    │   └── PostUnknown  a POST /prompt whose fate is unknown: it may have been queued
    ├── GraphRefused     a graph that ComfyUI does not accept
    └── FileGone         an output that is no longer there
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from workflows.catalog import Graph

OUR_NODES_VERSION = 1


class ComfyError(Exception):
    pass


class Unreachable(ComfyError):
    pass


class PostUnknown(Unreachable):
    pass


class FileGone(ComfyError):
    pass


@dataclass(frozen=True)
class NodeFault:
    """One input that ComfyUI refuses; `missing_choice` is a value it does not have (a model)."""

    node_id: str
    node_class: str
    field: str
    message: str
    missing_choice: str | None = None


class GraphRefused(ComfyError):
    def __init__(self, message: str, faults: list[NodeFault]) -> None:
        super().__init__(message)
        self.faults = faults


@dataclass(frozen=True)
class OutputFile:
    node_id: str
    filename: str
    subfolder: str
    folder: str  # input, output or temp


@dataclass(frozen=True)
class HistoryEntry:
    """How a prompt ended: `outputs` in the order ComfyUI names them."""

    status: Literal["success", "error", "interrupted"]
    outputs: tuple[OutputFile, ...] = ()
    exception_type: str = ""
    exception_message: str = ""
    node_class: str = ""


@dataclass(frozen=True)
class Queue:
    running: frozenset[str] = frozenset()
    pending: tuple[str, ...] = ()

    def __contains__(self, prompt_id: str) -> bool:
        return prompt_id in self.running or prompt_id in self.pending

    @property
    def stands_still(self) -> bool:
        """Prompts wait and none runs: so for a moment only, or the worker is dead."""
        return bool(self.pending) and not self.running


@dataclass(frozen=True)
class EngineInfo:
    """Who answers: `boot_id` changes with every start and is empty without our nodes."""

    name: str
    version: str
    boot_id: str = ""
    has_our_nodes: bool = False
    vram_total: int = 0
    vram_free: int = 0


@dataclass(frozen=True)
class Upload:
    """Where an uploaded picture lies; `name` is what a LoadImage takes."""

    name: str


@dataclass
class ComfyClient:
    """One ComfyUI. All times are seconds; every call ends within its time-out."""

    http: httpx.AsyncClient = field(repr=False)

    @classmethod
    def at(cls, url: str, *, timeout_s: float = 10) -> "ComfyClient":
        limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
        timeout = httpx.Timeout(timeout_s, connect=3)
        return cls(httpx.AsyncClient(base_url=url, timeout=timeout, limits=limits, trust_env=False))

    async def close(self) -> None:
        await self.http.aclose()

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = await self.http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise Unreachable(f"{method} {path}: {type(error).__name__}") from error
        if answer.status_code >= 500:
            raise Unreachable(f"{method} {path}: {answer.status_code}")
        return answer

    async def _object(self, path: str) -> dict[str, Any]:
        """A JSON object; empty when there is no such address."""
        answer = await self._request("GET", path)
        if answer.status_code == 404:
            return {}
        try:
            found = answer.json()
        except ValueError as error:
            raise Unreachable(f"GET {path}: not JSON") from error
        if not isinstance(found, dict):
            raise Unreachable(f"GET {path}: not a JSON object")
        return found

    async def info(self) -> EngineInfo:
        stats = await self._object("/system_stats")
        system = stats.get("system") or {}
        device = (stats.get("devices") or [{}])[0]
        nodes = await self._object("/easel")
        return EngineInfo(
            name=str(nodes.get("engine") or system.get("easel_engine") or "comfyui"),
            version=str(system.get("comfyui_version", "")),
            boot_id=str(nodes.get("boot_id", "")),
            has_our_nodes=nodes.get("version") == OUR_NODES_VERSION,
            vram_total=int(device.get("vram_total", 0)),
            vram_free=int(device.get("vram_free", 0)),
        )

    async def node_definition(self, node_class: str) -> dict[str, Any] | None:
        """The class's definition as in `/object_info`, or None when ComfyUI does not have it."""
        found = await self._object(f"/object_info/{node_class}")
        definition: dict[str, Any] | None = found.get(node_class)
        return definition

    async def post_prompt(
        self, graph: Graph, prompt_id: str, client_id: str, extra_data: Mapping[str, Any]
    ) -> None:
        """Queue `graph` under `prompt_id`.

        Never sends `number`: with a repeated id it can kill ComfyUI's worker. Raises GraphRefused
        (nothing runs), or PostUnknown when no answer came: ComfyUI may or may not have queued it.
        """
        body = json.dumps(
            {
                "prompt": graph,
                "prompt_id": prompt_id,
                "client_id": client_id,
                "extra_data": dict(extra_data),
            }
        )
        try:
            answer = await self._request(
                "POST", "/prompt", content=body, headers={"content-type": "application/json"}
            )
        except Unreachable as error:
            if isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout):
                raise
            raise PostUnknown(str(error)) from error
        said = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        if answer.status_code != 200:
            raise _refusal(graph, said, answer.status_code)
        if said.get("node_errors"):
            # The valid part of the graph was queued all the same: take it out again.
            await self.drop([prompt_id])
            await self.interrupt(prompt_id)
            raise _refusal(graph, said, 200)

    async def queue(self) -> Queue:
        found = await self._object("/queue")
        return Queue(
            running=frozenset(str(entry[1]) for entry in found.get("queue_running", ())),
            pending=tuple(str(entry[1]) for entry in found.get("queue_pending", ())),
        )

    async def history(self, prompt_id: str) -> HistoryEntry | None:
        """How the prompt ended, or None: unknown, lost, waiting and running look the same."""
        entry = (await self._object(f"/history/{prompt_id}")).get(prompt_id)
        return None if entry is None else _history_entry(entry)

    async def forget(self, prompt_ids: list[str]) -> None:
        """Delete finished prompts from ComfyUI's history, which keeps graphs in memory."""
        await self._request("POST", "/history", json={"delete": prompt_ids})

    async def drop(self, prompt_ids: list[str]) -> None:
        """Take waiting prompts out of the queue; without effect on a running one."""
        await self._request("POST", "/queue", json={"delete": prompt_ids})

    async def interrupt(self, prompt_id: str) -> None:
        """Stop this prompt if it is the one that runs. The id is always sent: without it ComfyUI
        stops whatever runs."""
        await self._request("POST", "/interrupt", json={"prompt_id": prompt_id})

    async def free(self, *, unload_models: bool) -> None:
        """Release memory when the worker is idle; returns at once."""
        await self._request(
            "POST", "/free", json={"unload_models": unload_models, "free_memory": True}
        )

    async def upload(self, data: bytes, name: str, subfolder: str, folder: str) -> Upload:
        """Store a picture in `folder` (input or temp). The name used is ComfyUI's answer."""
        answer = await self._request(
            "POST",
            "/upload/image",
            files={"image": (name, data, "application/octet-stream")},
            data={"subfolder": subfolder, "type": folder, "overwrite": "true"},
        )
        if answer.status_code != 200:
            raise Unreachable(f"POST /upload/image: {answer.status_code}")
        said = answer.json()
        stored = f"{said['subfolder']}/{said['name']}" if said["subfolder"] else said["name"]
        return Upload(stored if folder == "input" else f"{stored} [{folder}]")

    async def view(self, file: OutputFile) -> bytes:
        """An output's bytes; raises FileGone."""
        where = {"filename": file.filename, "subfolder": file.subfolder, "type": file.folder}
        answer = await self._request("GET", "/view", params=where)
        if answer.status_code != 200:
            raise FileGone(f"{file.filename}: {answer.status_code}")
        return answer.content

    async def remove_files(self, job_id: str) -> None:
        """Remove a job's folders in ComfyUI's input, output and temp; needs our nodes."""
        await self._request("DELETE", f"/easel/jobs/{job_id}")


def _refusal(graph: Graph, said: Mapping[str, Any], status: int) -> GraphRefused:
    error = said.get("error") or {}
    faults = [
        _node_fault(graph, node_id, fault)
        for node_id, node in (said.get("node_errors") or {}).items()
        for fault in node.get("errors", ())
    ]
    message = "; ".join(f"{f.node_class}: {f.field}: {f.message}" for f in faults)
    general = str(error.get("message") or f"ComfyUI refused the graph with {status}")
    return GraphRefused(message or general, faults)


def _node_fault(graph: Graph, node_id: str, fault: Mapping[str, Any]) -> NodeFault:
    node = graph.get(node_id, {})
    extra = fault.get("extra_info") or {}
    name = str(extra.get("input_name", ""))
    given = node.get("inputs", {}).get(name)
    missing = fault.get("type") == "value_not_in_list" and isinstance(given, str)
    title = node.get("_meta", {}).get("title", "")
    return NodeFault(
        node_id=node_id,
        node_class=title or str(node.get("class_type", "")),
        field=name,
        message=str(fault.get("message", "")),
        missing_choice=given if missing else None,
    )


def _history_entry(entry: Mapping[str, Any]) -> HistoryEntry:
    status = entry.get("status") or {}
    outputs = tuple(
        OutputFile(node_id, str(file["filename"]), str(file["subfolder"]), str(file["type"]))
        for node_id, output in (entry.get("outputs") or {}).items()
        for file in output.get("images", ())
    )
    if status.get("status_str") == "success":
        return HistoryEntry("success", outputs)
    messages = status.get("messages") or []
    kind, data = messages[-1] if messages else ("", {})
    if kind == "execution_interrupted":
        return HistoryEntry("interrupted", outputs)
    return failed_entry(data, outputs)


def failed_entry(data: Mapping[str, Any], outputs: tuple[OutputFile, ...] = ()) -> HistoryEntry:
    """From the data of an `execution_error`, without its traceback, paths and inputs."""
    return HistoryEntry(
        "error",
        outputs,
        exception_type=str(data.get("exception_type", "")),
        exception_message=str(data.get("exception_message", "")).strip(),
        node_class=str(data.get("node_type", "")),
    )
