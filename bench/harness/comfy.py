"""A direct client of ComfyUI, the baseline: one WebSocket, keep-alive HTTP, `GET /view`."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

Graph = dict[str, dict[str, Any]]
WORKFLOWS = Path(__file__).parents[1] / "workflows"


class DirectClient:
    """Runs a graph with one output node as a plain client would: SaveImage, then fetch the PNG."""

    def __init__(self, http: httpx.AsyncClient, client_id: str) -> None:
        self.http = http
        self._client_id = client_id
        self._ends: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._files: dict[str, dict[str, Any]] = {}

    async def read(self, socket: ClientConnection) -> None:
        async for frame in socket:
            if isinstance(frame, bytes):
                continue
            message = json.loads(frame)
            data = message["data"]
            prompt_id = data.get("prompt_id")
            if message["type"] == "executed":
                self._files[prompt_id] = data["output"]["images"][0]
            elif message["type"] == "executing" and data["node"] is None:
                self._ends[prompt_id].set_result(self._files.pop(prompt_id))

    async def draw(self, graph: Graph) -> bytes:
        prompt_id = str(uuid.uuid4())
        ended = self._ends[prompt_id] = asyncio.get_running_loop().create_future()
        own = {key: {**node, "inputs": dict(node["inputs"])} for key, node in graph.items()}
        for node in own.values():
            if "filename_prefix" in node["inputs"]:
                node["inputs"]["filename_prefix"] = f"easel-bench/{prompt_id}/image"
        body = {"prompt": own, "prompt_id": prompt_id, "client_id": self._client_id}
        (await self.http.post("/prompt", json=body)).raise_for_status()
        file = await ended
        del self._ends[prompt_id]
        answer = await self.http.get("/view", params=file)
        return answer.raise_for_status().content


@contextlib.asynccontextmanager
async def direct_client(url: str) -> AsyncIterator[DirectClient]:
    client_id = uuid.uuid4().hex
    address = url.replace("http", "ws", 1) + f"/ws?clientId={client_id}"
    async with (
        httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http,
        connect(address, max_size=None, compression=None, proxy=None) as socket,
    ):
        await socket.recv()
        client = DirectClient(http, client_id)
        reading = asyncio.create_task(client.read(socket))
        try:
            yield client
        finally:
            reading.cancel()
            await asyncio.wait({reading})


def load_graph(name: str) -> Graph:
    graph: Graph = json.loads((WORKFLOWS / name / f"{name}.json").read_text("utf-8"))
    return graph
