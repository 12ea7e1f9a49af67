"""The WebSocket from ComfyUI: turn frames into the state of the watched prompts.

ComfyUI sends each frame once, to the newest socket of a client id, and forgets a client id when
its *older* socket ends. So there is never more than one socket: the old one is closed, and its
close awaited, before the next is opened. Frames alone are never trusted: the run that watches a
prompt also checks history and queue. Observed on ComfyUI 0.3.64.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from gpu_server.comfy.answers import HistoryEntry, OutputFile, failed_entry, output_files
from gpu_server.comfy.progress import Progress
from gpu_server.metrics import Metrics
from gpu_server.timeouts import Timeouts

log = structlog.get_logger()

_FIRST_PAUSE_S = 0.05
"""Pause before the first attempt to reconnect; it doubles with every failure."""
_CLOSE_S = 2.0
"""Timeout for closing the socket."""

_PREVIEW = 1
_PREVIEW_WITH_METADATA = 4
_FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
_SKIPPED = ('{"type": "progress_state"', '{"type":"progress_state"')
"""Frames to skip: progress_state lists every node each time, too costly for a large graph."""
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a frame of an unknown shape may raise: custom nodes broadcast anything."""


@dataclass
class Watch:
    """What the channel knows of one prompt; `changed` is set on every change."""

    prompt_id: str
    progress: Progress
    changed: asyncio.Event
    posted_at: float | None = None
    started_at: float | None = None
    last_sign_at: float = field(default_factory=time.monotonic)
    """When a frame last showed that the worker moves on; monotonic."""
    longest_pause_s: float = 0.0
    """The longest time between two such frames."""
    alive: bool = False
    """Whether any frame has named this prompt."""
    suspect: bool = False
    """Whether the socket broke: frames may be missing."""
    preview: bytes | None = None
    """The newest image of the work so far, as JPEG or PNG."""
    outputs: dict[str, tuple[OutputFile, ...]] = field(default_factory=dict)
    ended: HistoryEntry | None = None
    """How it ended, if every frame of the end was seen; else the history tells."""
    over: bool = False
    """Whether it left ComfyUI's worker."""
    _verdict: HistoryEntry | None = None

    def touch(self) -> None:
        now = time.monotonic()
        if self.alive:
            self.longest_pause_s = max(self.longest_pause_s, now - self.last_sign_at)
        self.last_sign_at = now
        self.alive = True
        self.changed.set()

    def start(self) -> None:
        if self.started_at is None:
            self.started_at = time.monotonic()
            self.progress.clock = self.started_at

    def apply(self, kind: str, data: dict[str, Any]) -> None:
        match kind:
            case "execution_start":
                self.start()
            case "execution_cached":
                self.progress.cached(data.get("nodes", ()))
            case "executing" if data.get("node") is None:
                self.progress.end()
                self.ended, self.over = self._verdict, True
            case "executing":
                self.begin_node(str(data["node"]))
            case "progress":
                self.start()
                self.progress.step(str(data.get("node")), data["value"], data["max"])
            case "executed":
                node = str(data["node"])
                self.outputs[node] = output_files(node, data.get("output") or {})
            case "execution_success":
                files = tuple(file for node in self.outputs.values() for file in node)
                self._verdict = HistoryEntry("success", files)
            case "execution_error":
                self._verdict = failed_entry(data)
            case "execution_interrupted":
                self._verdict = HistoryEntry("interrupted")
        self.touch()

    def begin_node(self, node: str) -> None:
        self.start()
        self.progress.executing(node)

    def learn_node(self, node: str) -> None:
        """Take the node that a new socket is told; only another one is a sign of life."""
        if node != self.progress.node and node in self.progress.graph:
            self.begin_node(node)
            self.touch()


@dataclass(kw_only=True)
class EventChannel:
    """Keeps one socket open while `run` runs and reconnects with growing pauses."""

    url: str
    """ComfyUI's, as for HTTP."""
    client_id: str
    on_lost: Callable[[], None]
    metrics: Metrics
    timeouts: Timeouts
    open: asyncio.Event = field(default_factory=asyncio.Event)
    node_on_connect: str | None = None
    """The node that was running when the socket opened, if any."""
    _watches: dict[str, Watch] = field(default_factory=dict)
    _socket: ClientConnection | None = None
    _replacing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _current: str = ""
    _idle_since: float | None = None

    async def run(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with connect(
                    self.url.replace("http", "ws", 1) + f"/ws?clientId={self.client_id}",
                    max_size=None,
                    compression=None,
                    proxy=None,
                    open_timeout=self.timeouts.first_frame_s,
                    close_timeout=_CLOSE_S,
                    ping_interval=self.timeouts.ping_s,
                    ping_timeout=self.timeouts.ping_s,
                    max_queue=None,
                ) as socket:
                    self.node_on_connect = None
                    await socket.send(_FLAGS)
                    async with asyncio.timeout(self.timeouts.first_frame_s):
                        self._handle(await socket.recv())
                    self._socket = socket
                    self.open.set()
                    pause = _FIRST_PAUSE_S
                    async for frame in socket:
                        self._handle(frame)
            except (OSError, WebSocketException, TimeoutError) as error:
                log.debug("event_channel_down", error=type(error).__name__)
            finally:
                self._lost()
            await asyncio.sleep(pause)
            pause = min(pause * 2, self.timeouts.backoff_s)

    def _lost(self) -> None:
        if self._socket is None:
            return
        self._socket = None
        self.open.clear()
        self.metrics.reconnects.inc()
        for watch in self._watches.values():
            watch.suspect = True
            watch.changed.set()
        self.on_lost()

    async def reconnect(self) -> None:
        """Replace the socket; return after its first frame. Raises TimeoutError without one."""
        async with self._replacing:
            if self._socket is not None:
                self.open.clear()
                await self._socket.close()
            async with asyncio.timeout(self.timeouts.first_frame_s + self.timeouts.backoff_s):
                await self.open.wait()

    @asynccontextmanager
    async def watch(
        self, prompt_id: str, progress: Progress, changed: asyncio.Event
    ) -> AsyncIterator[Watch]:
        """Watch one prompt; begin before it is posted."""
        watch = self._watches[prompt_id] = Watch(prompt_id, progress, changed)
        try:
            yield watch
        finally:
            del self._watches[prompt_id]

    def _handle(self, frame: str | bytes) -> None:
        with suppress(*_MALFORMED):
            if isinstance(frame, bytes):
                self._handle_binary(frame)
            elif not frame.startswith(_SKIPPED):
                message = json.loads(frame)
                self._handle_message(str(message["type"]), message.get("data") or {})

    def _handle_message(self, kind: str, data: dict[str, Any]) -> None:
        prompt_id = data.get("prompt_id")
        if prompt_id is None and kind == "executing" and data.get("node") is not None:
            # The node that ComfyUI began last, told to every new socket: it may long have died.
            self.node_on_connect = str(data["node"])
            return
        watched = self._watches.get(str(prompt_id))
        if watched is not None:
            self._current = watched.prompt_id
            watched.apply(kind, data)
            self._measure_idle(kind, data, watched)

    def _measure_idle(self, kind: str, data: dict[str, Any], watch: Watch) -> None:
        """Measure how long the worker was idle although a prompt was waiting."""
        if kind == "executing" and data.get("node") is None:
            self._idle_since = time.monotonic()
        elif kind == "execution_start" and self._idle_since is not None:
            if watch.posted_at is not None and watch.posted_at < self._idle_since:
                self.metrics.idle.observe(time.monotonic() - self._idle_since)
            self._idle_since = None

    def _handle_binary(self, frame: bytes) -> None:
        kind = int.from_bytes(frame[:4], "big")
        if kind == _PREVIEW_WITH_METADATA:
            begin = 8 + int.from_bytes(frame[4:8], "big")
            prompt_id = json.loads(frame[8:begin])["prompt_id"]
        elif kind == _PREVIEW:
            begin, prompt_id = 8, self._current
        else:
            return
        watch = self._watches.get(prompt_id)
        if watch is not None:
            watch.preview = frame[begin:]
            watch.touch()
