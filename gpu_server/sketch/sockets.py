"""The WebSocket side: sockets registered by client id, and the one loop that sends to them."""

import asyncio
import json
import struct
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

MAX_UPLOAD_BYTES = 100 * 1024 * 1024
SERVER_FEATURES = {"supports_preview_metadata": True, "max_upload_size": MAX_UPLOAD_BYTES}

_PREVIEW, _PREVIEW_WITH_METADATA = 1, 4
_FORMATS = {"jpeg": 1, "png": 2}


class Sockets:
    """Registered sockets by client id, with ComfyUI's weaknesses.

    The newest socket owns its id. When the handler of an older one ends, it removes the id, and the
    newer socket, though open, gets no more frames. One loop sends to everyone, so a client that
    does not read blocks the others.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.open: set[WebSocket] = set()  # registered or not
        self._sockets: dict[str, WebSocket] = {}
        self._features: dict[str, Mapping[str, Any]] = {}
        self._frames: asyncio.Queue[tuple[str | bytes, str | None]] = asyncio.Queue()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._running: tuple[str | None, str | None] = (None, None)

    def send(self, event: str, data: Any, client: str | None) -> None:
        """Queue a JSON frame for one client, or with None for all; callable from any thread."""
        self._post(_frame(event, data), client)

    def send_preview(
        self, kind: str, image: bytes, metadata: Mapping[str, Any], client: str | None
    ) -> None:
        """Queue an image, as type 4 with metadata or as type 1, by the client's feature flags."""
        if self.wants_metadata(client):
            text = json.dumps({**metadata, "image_type": f"image/{kind}"}).encode()
            head = struct.pack(">II", _PREVIEW_WITH_METADATA, len(text)) + text
        else:
            head = struct.pack(">II", _PREVIEW, _FORMATS[kind])
        self._post(head + image, client)

    def _post(self, frame: str | bytes, client: str | None) -> None:
        self._loop.call_soon_threadsafe(self._frames.put_nowait, (frame, client))

    def wants_metadata(self, client: str | None) -> bool:
        """Whether the client asked for previews with metadata (type 4)."""
        return bool(self._features.get(client or "", {}).get("supports_preview_metadata"))

    def is_connected(self, client: str | None) -> bool:
        """Whether a frame for this client, or with None for all, would reach a socket."""
        return bool(self._sockets) if client is None else client in self._sockets

    def executing(self, client: str | None, node: str | None) -> None:
        """Remember the running node, which a client that reconnects is told."""
        self._running = (client, node)

    async def publish(self) -> None:
        """Send queued frames one after the other, until cancelled."""
        while True:
            frame, client = await self._frames.get()
            await self._flowing.wait()
            targets = list(self._sockets) if client is None else [client]
            for target in targets:
                if target in self._sockets:
                    await _deliver(self._sockets[target], frame)

    async def serve(self, socket: WebSocket, status: Mapping[str, Any]) -> None:
        """Handle one socket from its handshake to its end."""
        await socket.accept()
        self.open.add(socket)
        client = socket.query_params.get("clientId") or uuid.uuid4().hex
        self._sockets[client] = socket
        self._features[client] = {}
        try:
            await _deliver(socket, _frame("status", {"status": status, "sid": client}))
            owner, node = self._running
            if owner == client and node is not None:
                await _deliver(socket, _frame("executing", {"node": node}))
            await self._receive(socket, client)
        finally:
            if socket in self.open:
                self.open.remove(socket)
                self._sockets.pop(client, None)
                self._features.pop(client, None)

    async def _receive(self, socket: WebSocket, client: str) -> None:
        first = True
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                data = json.loads(message.get("text") or "")
            except json.JSONDecodeError:
                continue  # only JSON uses up the chance to send feature flags
            if first and isinstance(data, dict) and data.get("type") == "feature_flags":
                features = data.get("data", {})
                self._features[client] = features if isinstance(features, dict) else {}
                await _deliver(socket, _frame("feature_flags", SERVER_FEATURES))
            first = False

    def mute(self) -> None:
        self._sockets.clear()
        self._features.clear()

    def forget(self) -> None:
        """Drop all sockets as a new process would, so that their later ends change nothing."""
        self.mute()
        self.open.clear()

    def hold(self, seconds: float) -> None:
        """Hold all frames back for `seconds`, then send them."""
        self._flowing.clear()
        self._loop.call_later(seconds, self._flowing.set)

    def release(self) -> None:
        self._flowing.set()


def _frame(event: str, data: Any) -> str:
    return json.dumps({"type": event, "data": data})


async def _deliver(socket: WebSocket, frame: str | bytes) -> None:
    kind = "text" if isinstance(frame, str) else "bytes"
    try:
        await socket.send({"type": "websocket.send", kind: frame})
    except (WebSocketDisconnect, RuntimeError):
        return  # closed; its own handler notices
