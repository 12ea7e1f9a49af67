"""ComfyUI over HTTP: send requests and read answers; decide nothing."""

import io
import json
import re
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
    history_entry,
    reading,
    refusal,
)
from web.same_origin import is_loopback
from workflows.graph import Graph

OUR_NODES_VERSION = 1
_WORKER_ENDED = re.compile(r"Exception in thread [^\n]*\(prompt_worker\)")
_UNCAUGHT = re.compile(r'  File "(?![^"]*custom_nodes)[^"]*\bexecution\.py", line \d+, in \w+\n?')
"""A piece of the log that Python writes by itself only for an exception that nobody caught.

Python 3.11 and 3.12 write each mark of a traceback as a piece, and ComfyUI keeps 300 pieces: the
first line is soon gone. What ComfyUI caught it writes as one piece.
"""

_KEEP_ALIVE_S = 4.0
"""How long to keep idle connections; if ComfyUI closed them first, a request could fail."""


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ComfyClient:
    """One ComfyUI. Every request has a timeout; all raise Unreachable when it does not answer.

    It uses aiohttp because every job waits for several requests and httpx is slower at each.
    """

    http: aiohttp.ClientSession = field(repr=False)
    shares_disk: bool = False
    """Whether ComfyUI may run on this host, so that its files can be read from disk."""
    _output: str = ""

    @classmethod
    def at(cls, url: str, *, timeout_s: float = 10) -> "ComfyClient":
        """Create a client; call it in a running event loop."""
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
            raise Refused(f"{method} {path}: nothing listens there") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {path}: {type(error).__name__}") from error
        if answer.status >= 500:
            raise Unreachable(f"{method} {path}: {answer.status}")
        return answer

    async def _object(self, path: str) -> dict[str, Any]:
        """Return a JSON object; empty if there is no such route."""
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
            list(stats.get("devices") or ())  # another program may have no list here
            return EngineInfo(
                name=str(nodes.get("engine") or system.get("easel_engine") or "comfyui"),
                version=str(system.get("comfyui_version", "")),
                boot_id=str(nodes.get("boot_id", "")),
                has_our_nodes=nodes.get("version") == OUR_NODES_VERSION,
                worker_alive=nodes.get("worker_alive"),
            )

    async def tells_of_dead_worker(self) -> bool:
        """Whether ComfyUI's own log says that the thread which runs prompts ended by an exception.

        Nothing of the log is kept. False where ComfyUI shows no log.
        """
        answer = await self._object("/internal/logs/raw")
        with reading("GET /internal/logs/raw"):
            pieces = [str(entry["m"]) for entry in answer.get("entries", ())]
        return bool(_WORKER_ENDED.search("".join(pieces))) or any(map(_UNCAUGHT.fullmatch, pieces))

    async def node_definition(self, node_class: str) -> dict[str, Any] | None:
        """Return a class's definition from `/object_info`, or None if ComfyUI lacks the class."""
        answer = await self._object(f"/object_info/{node_class}")
        definition: dict[str, Any] | None = answer.get(node_class)
        return definition

    async def post_prompt(
        self, graph: Graph, prompt_id: str, client_id: str, extra_data: Mapping[str, Any]
    ) -> None:
        """Queue `graph` under `prompt_id`.

        It never sends `number`: with a repeated id that can kill ComfyUI's worker.

        Raises:
            GraphRefused: ComfyUI does not accept it, and nothing of it runs.
            PostUnknown: No readable answer: ComfyUI may have queued it or not.
            Refused: It was not queued.
        """
        body = {
            "prompt": graph,
            "prompt_id": prompt_id,
            "client_id": client_id,
            "extra_data": dict(extra_data),
        }
        try:
            answer = await self._request("POST", "/prompt", json=body)
            with reading("POST /prompt"):
                data = answer.json() if answer.body[:1] == b"{" else {}
                refused = answer.status != 200 or bool(data.get("node_errors"))
                why = refusal(graph, data, answer.status) if refused else None
        except Refused:
            raise
        except Unreachable as error:
            raise PostUnknown(str(error)) from error
        if why is None:
            return
        if answer.status == 200:  # ComfyUI queued the valid part of the graph: remove it
            await self.drop([prompt_id])
            await self.interrupt(prompt_id)
        raise why

    async def queue(self) -> Queue:
        answer = await self._object("/queue")
        with reading("GET /queue"):
            return Queue(
                running=frozenset(str(entry[1]) for entry in answer.get("queue_running", ())),
                pending=tuple(str(entry[1]) for entry in answer.get("queue_pending", ())),
            )

    async def history(self, prompt_id: str) -> HistoryEntry | None:
        """Return how the prompt ended; None: it is unknown, lost, waiting or running."""
        entry = (await self._object(f"/history/{prompt_id}")).get(prompt_id)
        with reading(f"GET /history/{prompt_id}"):
            return None if entry is None else history_entry(entry)

    async def forget(self, prompt_ids: list[str]) -> None:
        """Delete finished prompts from ComfyUI's history, which keeps graphs in memory."""
        await self._request("POST", "/history", json={"delete": prompt_ids})

    async def drop(self, prompt_ids: list[str]) -> None:
        """Remove waiting prompts from the queue; no effect on a running one."""
        await self._request("POST", "/queue", json={"delete": prompt_ids})

    async def interrupt(self, prompt_id: str) -> None:
        """Stop this prompt if it runs. Without the id ComfyUI would stop any prompt."""
        await self._request("POST", "/interrupt", json={"prompt_id": prompt_id})

    async def free(self, *, unload_models: bool) -> None:
        """Ask ComfyUI to release memory once its worker is idle; returns at once."""
        await self._request(
            "POST", "/free", json={"unload_models": unload_models, "free_memory": True}
        )

    async def upload(self, photo: bytes, name: str, subfolder: str, folder: str) -> str:
        """Store a photo in `folder` (input or temp); return the value for a LoadImage node."""
        form = aiohttp.FormData(
            {"subfolder": subfolder, "type": folder, "overwrite": "true"}, default_to_multipart=True
        )
        file = io.BytesIO(photo)  # bytes of over 1 MB would be written in one go, with a warning
        form.add_field("image", file, filename=name, content_type="application/octet-stream")
        answer = await self._request("POST", "/upload/image", data=form)
        if answer.status != 200:
            raise Unreachable(f"POST /upload/image: {answer.status}")
        with reading("POST /upload/image"):
            data = answer.json()
            stored = f"{data['subfolder']}/{data['name']}" if data["subfolder"] else data["name"]
        return stored if folder == "input" else f"{stored} [{folder}]"

    def path_of(self, file: OutputFile) -> Path | None:
        """Return where the output would be on this host's disk; None if ComfyUI runs elsewhere.

        Only reading the file proves that the disk is shared; the job's id in its path proves which.
        """
        if not (self.shares_disk and self._output and file.folder == "output"):
            return None
        folder = Path(self._output)
        path = folder / file.subfolder / file.filename
        return path if ".." not in path.parts and path.is_relative_to(folder) else None

    async def view(self, file: OutputFile) -> bytes:
        """Return an output file's bytes. Raises FileGone."""
        where = {"filename": file.filename, "subfolder": file.subfolder, "type": file.folder}
        answer = await self._request("GET", "/view", params=where)
        if answer.status != 200:
            raise FileGone(f"{file.filename}: {answer.status}")
        return answer.body

    async def remove_files(self, jobs: Sequence[UUID]) -> None:
        """Remove jobs' folders below ComfyUI's input, output and temp; needs our nodes."""
        await self._request("DELETE", f"/easel/jobs/{','.join(map(str, jobs))}")
