"""ComfyUI over HTTP: moves bytes, knows what its answers mean, decides nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp

from gpu_server.comfy.answers import (
    EngineInfo,
    FileGone,
    HistoryEntry,
    OutputFile,
    PostUnknown,
    Queue,
    Refused,
    Unreachable,
    Upload,
    history_entry,
    reading,
    refusal,
)
from web.settings import is_loopback
from workflows.catalog import Graph

OUR_NODES_VERSION = 1

_JSON = {"Content-Type": "application/json"}
_KEEP_ALIVE_S = 4.0
"""Idle connections are closed by us, before a server does it while we are asking."""


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.body)


@dataclass
class ComfyClient:
    """One ComfyUI. All times are seconds; every call ends within its time-out.

    Over aiohttp: every job waits for several of its requests, and httpx takes longer for each.
    """

    http: aiohttp.ClientSession = field(repr=False)
    shares_disk: bool = False
    """Whether ComfyUI may be on this machine, its files within reach."""
    _output: str = ""

    @classmethod
    def at(cls, url: str, *, timeout_s: float = 10) -> "ComfyClient":
        """To be called in a running event loop."""
        return cls(
            aiohttp.ClientSession(
                base_url=url,
                timeout=aiohttp.ClientTimeout(
                    total=6 * timeout_s, sock_connect=3, sock_read=timeout_s
                ),
                connector=aiohttp.TCPConnector(limit=32, keepalive_timeout=_KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},
            ),
            shares_disk=is_loopback(urlsplit(url).hostname or ""),
        )

    async def close(self) -> None:
        await self.http.close()

    async def _request(self, method: str, path: str, **options: Any) -> _Answer:
        try:
            async with self.http.request(method, path, **options) as response:
                answer = _Answer(response.status, await response.read())
        except aiohttp.ClientConnectorError as error:
            raise Refused(f"{method} {path}: nobody listens") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {path}: {type(error).__name__}") from error
        if answer.status >= 500:
            raise Unreachable(f"{method} {path}: {answer.status}")
        return answer

    async def _object(self, path: str) -> dict[str, Any]:
        """A JSON object; empty when there is no such address."""
        answer = await self._request("GET", path)
        if answer.status == 404:
            return {}
        with reading(f"GET {path}"):
            return dict(answer.json())

    async def info(self) -> EngineInfo:
        stats = await self._object("/system_stats")
        nodes = await self._object("/easel")
        self._output = str(nodes.get("output", ""))
        with reading("GET /system_stats"):
            system = stats["system"]
            device = (stats.get("devices") or [{}])[0]
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
        (nothing runs), or PostUnknown without a readable answer: ComfyUI may have queued it or not.
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
            answer = await self._request("POST", "/prompt", data=body.encode(), headers=_JSON)
            with reading("POST /prompt"):
                said = answer.json() if answer.body[:1] == b"{" else {}
                refused = answer.status != 200 or bool(said.get("node_errors"))
                why = refusal(graph, said, answer.status) if refused else None
        except Refused:
            raise
        except Unreachable as error:
            raise PostUnknown(str(error)) from error
        if why is not None and answer.status == 200:
            # The valid part of the graph was queued all the same: take it out again.
            await self.drop([prompt_id])
            await self.interrupt(prompt_id)
        if why is not None:
            raise why

    async def queue(self) -> Queue:
        found = await self._object("/queue")
        with reading("GET /queue"):
            return Queue(
                running=frozenset(str(entry[1]) for entry in found.get("queue_running", ())),
                pending=tuple(str(entry[1]) for entry in found.get("queue_pending", ())),
            )

    async def history(self, prompt_id: str) -> HistoryEntry | None:
        """How the prompt ended, or None: unknown, lost, waiting and running look the same."""
        entry = (await self._object(f"/history/{prompt_id}")).get(prompt_id)
        with reading(f"GET /history/{prompt_id}"):
            return None if entry is None else history_entry(entry)

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
        form = aiohttp.FormData(
            {"subfolder": subfolder, "type": folder, "overwrite": "true"}, default_to_multipart=True
        )
        form.add_field("image", data, filename=name, content_type="application/octet-stream")
        answer = await self._request("POST", "/upload/image", data=form)
        if answer.status != 200:
            raise Unreachable(f"POST /upload/image: {answer.status}")
        with reading("POST /upload/image"):
            said = answer.json()
            stored = f"{said['subfolder']}/{said['name']}" if said["subfolder"] else said["name"]
        return Upload(stored if folder == "input" else f"{stored} [{folder}]")

    def path_of(self, file: OutputFile) -> Path | None:
        """Where the output lies if ComfyUI's disk is ours, which only a look there can tell: the
        folder has the job's id in its name."""
        if not (self.shares_disk and self._output and file.folder == "output"):
            return None
        folder = Path(self._output)
        path = folder / file.subfolder / file.filename
        return path if ".." not in path.parts and path.is_relative_to(folder) else None

    async def view(self, file: OutputFile) -> bytes:
        """An output's bytes; raises FileGone."""
        where = {"filename": file.filename, "subfolder": file.subfolder, "type": file.folder}
        answer = await self._request("GET", "/view", params=where)
        if answer.status != 200:
            raise FileGone(f"{file.filename}: {answer.status}")
        return answer.body

    async def remove_files(self, jobs: Sequence[UUID]) -> None:
        """Remove jobs' folders in ComfyUI's input, output and temp; needs our nodes."""
        await self._request("DELETE", f"/easel/jobs/{','.join(map(str, jobs))}")
