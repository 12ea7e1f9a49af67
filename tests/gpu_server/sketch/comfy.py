"""A plain client of ComfyUI's protocol, for the tests of the sketch engine."""

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

Graph = dict[str, dict[str, Any]]


@dataclass
class Socket:
    """One WebSocket; `frames` holds all frames so far in short form, `raw` as received."""

    connection: ClientConnection
    frames: list[str] = field(default_factory=list)
    raw: list[Any] = field(default_factory=list)

    async def read(self) -> str:
        """Return the next frame in short form."""
        message = await self.connection.recv()
        data = message if isinstance(message, bytes) else json.loads(message)
        self.raw.append(data)
        self.frames.append(short(data))
        return self.frames[-1]

    async def read_until(self, start: str) -> list[str]:
        """Return all frames up to the first that begins with `start`."""
        seen = [await self.read()]
        while not seen[-1].startswith(start):
            seen.append(await self.read())
        return seen


@dataclass
class Comfy:
    """A server under test."""

    url: str
    http: httpx.AsyncClient

    @contextlib.asynccontextmanager
    async def socket(
        self, client: str, *, previews_with_metadata: bool = False
    ) -> AsyncIterator[Socket]:
        """Connect and read the first frame."""
        address = f"{self.url.replace('http', 'ws')}/ws?clientId={client}"
        async with connect(address, max_size=None, max_queue=None, compression=None) as connection:
            socket = Socket(connection)
            if previews_with_metadata:
                features = {"supports_preview_metadata": True}
                await connection.send(json.dumps({"type": "feature_flags", "data": features}))
                await socket.read_until("feature_flags")
            else:
                await socket.read()
            yield socket

    async def has_node(self, name: str) -> bool:
        return name in (await self.http.get(f"/object_info/{name}")).json()

    async def post(self, graph: Graph, client: str | None = None, **more: Any) -> str:
        """Queue a graph and return its prompt id."""
        body: dict[str, Any] = {"prompt": graph, **more}
        if client is not None:
            body["client_id"] = client
        answer = await self.http.post("/prompt", json=body)
        assert answer.status_code == 200, answer.text
        prompt_id: str = answer.json()["prompt_id"]
        return prompt_id

    async def run(self, graph: Graph, socket: Socket, client: str, **more: Any) -> dict[str, Any]:
        """Queue a graph, wait for its end and return its history entry."""
        prompt_id = await self.post(graph, client, **more)
        await socket.read_until("executing(None)")
        return await self.history(prompt_id)

    async def history(self, prompt_id: str) -> dict[str, Any]:
        """Return the history entry of a prompt, or `{}`."""
        entries: dict[str, dict[str, Any]] = (await self.http.get(f"/history/{prompt_id}")).json()
        return entries.get(prompt_id, {})

    async def wait_for_queue(self, running: int, pending: int) -> None:
        """Wait until the queue has these lengths; for jobs that send no frame."""
        async with asyncio.timeout(10):
            # No frame announces it, so poll.
            while await self._queue_lengths() != (running, pending):
                await asyncio.sleep(0.01)

    async def _queue_lengths(self) -> tuple[int, int]:
        queue = (await self.http.get("/queue")).json()
        return len(queue["queue_running"]), len(queue["queue_pending"])

    async def fault(self, name: str, **more: Any) -> None:
        """Arm a fault of the sketch engine."""
        answer = await self.http.post("/sketch/faults", json={"fault": name, **more})
        assert answer.status_code == 200, answer.text

    async def view(self, image: dict[str, str]) -> bytes:
        """Return the bytes of an output image."""
        answer = await self.http.get("/view", params=image)
        assert answer.status_code == 200, answer.text
        return answer.content


def short(data: Any) -> str:
    """Write a frame as one short line, without ids and times."""
    if isinstance(data, bytes):
        event = struct.unpack(">I", data[:4])[0]
        form = "png" if b"\x89PNG" in data[:400] else "jpeg"
        return f"preview({event} {form})"
    kind, content = data["type"], data.get("data") or {}
    describe = _DETAILS.get(kind)
    return f"{kind}({describe(content)})" if describe else str(kind)


def _status(content: dict[str, Any]) -> str:
    remaining = content["status"]["exec_info"]["queue_remaining"]
    return f"{remaining}{' sid' if 'sid' in content else ''}"


def _nodes(content: dict[str, Any]) -> str:
    return " ".join(
        f"{node}:{entry['value']:g}/{entry['max']:g} {entry['state']}"
        for node, entry in content["nodes"].items()
    )


def _failure(content: dict[str, Any]) -> str:
    return f"{content['node_id']} {content['node_type']}"


_DETAILS: dict[str, Callable[[dict[str, Any]], str]] = {
    "status": _status,
    "progress_state": _nodes,
    "progress": lambda content: f"{content['node']} {content['value']}/{content['max']}",
    "executing": lambda content: str(content["node"]),
    "executed": lambda content: f"{content['node']} {','.join(content['output'] or {})}",
    "execution_cached": lambda content: " ".join(content["nodes"]),
    "execution_error": _failure,
    "execution_interrupted": _failure,
}


def flat(color: int = 0x336699, prefix: str = "flat", output: str = "SaveImage") -> Graph:
    """Build the smallest graph: a 64 px image of one colour."""
    size = {"width": 64, "height": 64, "batch_size": 1}
    inputs: dict[str, Any] = {"images": ["1", 0]}
    if output in ("SaveImage", "EaselOutput"):
        inputs["filename_prefix"] = prefix
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**size, "color": color}},
        "2": {"class_type": output, "inputs": inputs},
    }


def picture(
    seed: int = 1, steps: int = 2, prompt: str = "a lighthouse", size: int = 64, batch: int = 1
) -> Graph:
    """Build a text-to-image graph with one checkpoint."""
    sampling = {"steps": steps, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal"}
    links = {
        "model": ["4", 0],
        "positive": ["6", 0],
        "negative": ["7", 0],
        "latent_image": ["5", 0],
    }
    latent = {"width": size, "height": size, "batch_size": batch}
    return {
        "3": {
            "class_type": "KSampler",
            "inputs": {"seed": seed, **sampling, "denoise": 1.0, **links},
        },
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINTS[1]}},
        "5": {"class_type": "EmptyLatentImage", "inputs": latent},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt, "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {
            "class_type": "EaselOutput",
            "inputs": {"images": ["8", 0], "filename_prefix": f"p/{seed}-{len(prompt)}-{size}"},
        },
    }


CHECKPOINTS = ["sd15_random.safetensors", "sd15_tiny_random.safetensors"]
MODELS = {
    "checkpoints": CHECKPOINTS,
    "diffusion_models": ["sd3_tiny_random.safetensors"],
    "text_encoders": ["clip_l_random.safetensors"],
    "vae": ["vae16_random.safetensors"],
    "loras": ["lora.safetensors"],
    "controlnet": ["canny.safetensors"],
    "model_patches": ["patch.safetensors"],
}
