"""The ComfyUI of this pod as a whole: is it up and in order, what can it draw; and its restart.

What concerns one job is in `gpu_server.jobs`.
"""

import asyncio
import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import structlog

from gpu_server.comfy.answers import ComfyError, EngineInfo, Refused, Strange
from gpu_server.comfy.client import ComfyClient
from gpu_server.comfy.object_info import Definitions
from gpu_server.comfy.styles import Styles
from gpu_server.metrics import Metrics
from gpu_server.timeouts import Timeouts
from web import errors
from workflows.live import LiveCatalog

log = structlog.get_logger()

Reason = Literal["frozen", "hang", "worker_dead", "cuda_fault"]
_FAULTS: dict[Reason, str] = {
    "frozen": "it does not answer",
    "hang": "a picture that ran out of time could not be stopped",
    "worker_dead": "it takes jobs and runs none",
    "cuda_fault": "the GPU reported a fault",
}


@dataclass(kw_only=True)
class Engine:
    """Watches ComfyUI while `run` runs."""

    comfy: ComfyClient
    live: LiveCatalog
    metrics: Metrics
    timeouts: Timeouts
    pid_file: Path | None
    packs: Collection[str] = ()
    """The node packs whose nodes a graph may have."""
    info: EngineInfo | None = None
    in_service: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while jobs may be sent to it."""
    out_since: float = field(default_factory=time.monotonic)
    """When it last went out of service; monotonic."""
    boots: int = 0
    """How many different ComfyUI processes were seen."""
    fault: str | None = None
    """Why ComfyUI must be restarted before it is used again; None if it need not be."""
    is_stranger: bool = False
    """Whether the last answer came from another program on ComfyUI's port."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _misses: int = 0
    _is_away: bool = False
    _is_killed: bool = False
    _styles_checked_at: float | None = None

    def __post_init__(self) -> None:
        self.definitions = Definitions(self.comfy.node_definition, self.packs)
        self.styles = Styles(self.live, self.definitions)
        self.live.follow(lambda _: self.recheck_styles())

    @property
    def will_return(self) -> bool:
        """Whether to wait for it: it is away, or was killed and its supervisor restarts it."""
        return self.fault is None or self._is_killed

    @property
    def has_dead_worker(self) -> bool:
        """Whether ComfyUI says that the thread which runs prompts has ended."""
        return self.info is not None and self.info.worker_alive is False

    @property
    def says_worker_lives(self) -> bool:
        return self.info is not None and self.info.worker_alive is True

    @property
    def has_our_nodes(self) -> bool:
        return self.info is not None and self.info.has_our_nodes

    @property
    def name(self) -> str:
        """Name and version, as shown to people and kept with images."""
        if self.info is None:
            return "unknown"
        return f"{self.info.name} {self.info.version}".strip()

    @property
    def _comfyui_version(self) -> str:
        """Its version, if it is a ComfyUI: the sketch engine does without its nodes."""
        return self.info.version if self.info is not None and self.info.name == "comfyui" else ""

    @property
    def output_class(self) -> str:
        return "EaselOutput" if self.has_our_nodes else "PreviewImage"

    async def run(self) -> None:
        """Check until cancelled: rarely while it is in order, often while it is not."""
        while True:
            self._wake.clear()
            await self._check()
            self.metrics.comfyui_up.set(self.in_service.is_set())
            is_well = self.in_service.is_set() and not self._misses
            pause_s = self.timeouts.poll_s if is_well else self.timeouts.down_poll_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    def suspect(self) -> None:
        """Check now: it did not answer someone."""
        self._wake.set()

    def require_available(self, mode: str, style: str) -> None:
        """Raise ModelMissing or NoGpu unless the style can be drawn now."""
        state = self.styles.state(mode, style)
        if state.missing:
            raise errors.ModelMissing(f"The style '{style}' is not ready: {state.reason}")
        if not state.available:
            raise errors.NoGpu(f"'{style}' cannot be drawn now: {state.reason}", retry_after=10)
        if not self.in_service.is_set():
            why = self.fault or "it does not answer"
            raise errors.NoGpu(f"ComfyUI is out of service: {why}", retry_after=5)

    async def restart(self, reason: Reason, boot: int) -> bool:
        """Kill ComfyUI so that its supervisor starts a new one.

        `boot` is the value of `boots` when the fault was seen: a ComfyUI restarted since is left
        alone. Returns False without a supervisor: ComfyUI then stays out of service until a person
        restarts it.
        """
        if boot != self.boots or self._is_killed:
            return True
        pid = self._pid()
        if pid is None and self.fault is not None:
            return False
        log.error("engine_fault", reason=reason, restarted=pid is not None)
        self.fault = _FAULTS[reason]
        self._leave_service()
        if pid is None:
            return False
        self._is_killed = True
        self.metrics.comfyui_restarts.labels(reason=reason).inc()
        with suppress(ProcessLookupError):  # it may have ended meanwhile
            os.kill(pid, signal.SIGKILL)
        self._wake.set()
        return True

    def damage(self, files: list[str]) -> None:
        """Take the styles of these model files out of service: the files cannot be loaded."""
        self.styles.damaged.update(files)
        self.recheck_styles()

    def forgive(self) -> None:
        """Try damaged model files again: they may have been replaced."""
        self.styles.damaged.clear()
        self.recheck_styles()

    def recheck_styles(self) -> None:
        self._styles_checked_at = None
        self._wake.set()

    async def _check(self) -> None:
        try:
            async with asyncio.timeout(self.timeouts.liveness_s):
                info = await self.comfy.info()
            if self._is_new(info):
                self._begin(info)
            self.info = info
            async with asyncio.timeout(self.timeouts.request_s):
                await self._check_styles()
        except (ComfyError, TimeoutError) as error:
            await self._miss(error)
            return
        self._misses = 0
        self.is_stranger = False
        if self.has_dead_worker:
            await self.restart("worker_dead", self.boots)
        if self.fault is None:
            self.in_service.set()

    async def _miss(self, error: Exception) -> None:
        is_refused = isinstance(error, Refused)
        self.is_stranger = isinstance(error, Strange)
        if is_refused and self._is_killed and not self._is_away:
            log.info("engine_gone")
        self._is_away = self._is_away or is_refused
        self._misses += 1
        if is_refused or self._misses >= self.timeouts.misses:
            if self.in_service.is_set():
                log.warning("engine_down", error=str(error) or type(error).__name__)
            self._leave_service()
        # Only once: a ComfyUI that is starting may take long to answer.
        is_last_miss = not is_refused and self._misses == self.timeouts.misses
        is_frozen = is_last_miss and self.info is not None
        if is_frozen and self.fault is None and self._pid() is not None:
            await self.restart("frozen", self.boots)

    def _leave_service(self) -> None:
        if self.in_service.is_set():
            self.out_since = time.monotonic()
        self.in_service.clear()

    def _is_new(self, info: EngineInfo) -> bool:
        if self.info is None or info.boot_id != self.info.boot_id:
            return True
        # Without our nodes ComfyUI has no identity: one that was away counts as new.
        return not info.boot_id and self._is_away

    def _begin(self, info: EngineInfo) -> None:
        log.info("engine_found", engine=info.name, version=info.version)
        self._is_away = self._is_killed = False
        self.boots += 1
        self.fault = None
        self.styles.damaged.clear()
        self._styles_checked_at = None

    def _pid(self) -> int | None:
        """Return the process to kill: the one in the PID file, if it is a ComfyUI or the sketch."""
        if self.pid_file is None:
            return None
        try:
            pid = int(self.pid_file.read_text().strip())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            return None
        is_engine = "main.py" in command or "gpu_server.sketch" in command
        return pid if is_engine else None

    async def _check_styles(self) -> None:
        now = time.monotonic()
        checked_at = self._styles_checked_at
        if checked_at is not None and now - checked_at < self.timeouts.styles_s:
            return
        self._styles_checked_at = now
        try:
            await self.styles.check(self.output_class, self._comfyui_version)
        except ComfyError:
            self._styles_checked_at = None
            raise
