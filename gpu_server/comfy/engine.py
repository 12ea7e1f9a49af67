"""The ComfyUI of this pod: whether it is there, in order and what it can draw; and its restart.

Everything that is true of the engine as a whole is here; what concerns one job is in `runner`.
"""

import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from gpu_server.comfy.answers import ComfyError, EngineInfo, NodeFault, Refused, Strange
from gpu_server.comfy.client import ComfyClient
from gpu_server.comfy.failures import files_of, lacking, missing_models
from gpu_server.comfy.object_info import Definitions
from gpu_server.metrics import Metrics
from gpu_server.timeouts import Patience
from workflows.catalog import Catalog, Graph, Mode
from workflows.parameters import Request
from workflows.render import render, size_of

log = structlog.get_logger()

SKETCH = "sketch"
"""What the built-in engine calls itself."""

NO_CONTROLNET = "set EASEL_CONTROLNET to the Canny ControlNet that fits EASEL_CHECKPOINT"


Reason = Literal["frozen", "hang", "worker_dead", "cuda_fault"]
_FAULTS: dict[Reason, str] = {
    "frozen": "it answers nothing",
    "hang": "a picture over its time could not be stopped",
    "worker_dead": "it takes jobs and runs none",
    "cuda_fault": "the GPU reported a fault",
}


@dataclass(frozen=True)
class StyleState:
    """Whether a style can be drawn now; `files` are its model files, `missing` those of them that
    ComfyUI does not have."""

    available: bool
    reason: str | None = None
    missing: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


class Engine:
    """Watches ComfyUI while `run` runs. `in_service` is set when jobs may be sent to it."""

    def __init__(
        self,
        comfy: ComfyClient,
        catalog: Catalog,
        metrics: Metrics,
        patience: Patience,
        *,
        pid_file: Path | None,
    ) -> None:
        self.comfy = comfy
        self.catalog = catalog
        self.definitions = Definitions(comfy.node_definition)
        self.info: EngineInfo | None = None
        self.in_service = asyncio.Event()
        self.out_since = time.monotonic()
        """When it was last found out of service; monotonic."""
        self.boots = 0
        """How often a ComfyUI was found that is another process than the one before."""
        self.fault: str | None = None
        """Why ComfyUI must be restarted before it is used again, in words, or None."""
        self.damaged: set[str] = set()
        """Model files that cannot be loaded, until ComfyUI was restarted or memory freed."""
        self.is_stranger = False
        """Whether what answered last was another program, on ComfyUI's port."""
        self.styles: dict[tuple[str, str], StyleState] = {}
        self._metrics = metrics
        self._patience = patience
        self._pid_file = pid_file
        self._wake = asyncio.Event()
        self._misses = 0
        self._away = False
        self._killed = False
        self._styles_checked_at: float | None = None

    @property
    def will_return(self) -> bool:
        """Whether it may be waited for: it is away, or was killed and somebody starts it again."""
        return self.fault is None or self._killed

    @property
    def has_our_nodes(self) -> bool:
        return self.info is not None and self.info.has_our_nodes

    @property
    def name(self) -> str:
        """As shown to people and kept with pictures."""
        if self.info is None:
            return "unknown"
        return f"{self.info.name} {self.info.version}".strip()

    @property
    def output_class(self) -> str:
        return "EaselOutput" if self.has_our_nodes else "PreviewImage"

    async def run(self) -> None:
        """Poll until cancelled: seldom while it is well, often while it is not."""
        while True:
            await self._check()
            self._metrics.comfyui_up.set(self.in_service.is_set())
            self._wake.clear()
            well = self.in_service.is_set() and not self._misses
            pause = self._patience.poll_s if well else self._patience.down_poll_s
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def suspect(self) -> None:
        """Somebody got no answer: look now."""
        self._wake.set()

    async def restart(self, reason: Reason, boot: int) -> bool:
        """Kill ComfyUI so that its supervisor starts a new one; False when nobody would.

        `boot` is the value of `boots` when the fault was seen: a ComfyUI that was restarted since
        is left alone. Without a supervisor ComfyUI is out of service until somebody restarts it.
        """
        if boot != self.boots or self._killed:
            return True
        pid = self._pid()
        log.error("engine_fault", reason=reason, restarted=pid is not None)
        self.fault = _FAULTS[reason]
        self._out_of_service()
        if pid is None:
            return False
        self._killed = True
        self._metrics.comfyui_restarts.labels(reason=reason).inc()
        with suppress(ProcessLookupError):  # it may have ended by itself meanwhile
            os.kill(pid, signal.SIGKILL)
        self._wake.set()
        return True

    def damage(self, files: list[str]) -> None:
        """These model files cannot be loaded: their styles are out."""
        self.damaged.update(files)
        self.recheck_styles()

    def forgive(self) -> None:
        """Try damaged files again: somebody has replaced them."""
        self.damaged.clear()
        self.recheck_styles()

    def recheck_styles(self) -> None:
        self._styles_checked_at = None
        self._wake.set()

    def style(self, mode: str, style: str) -> StyleState:
        return self.styles.get((mode, style), StyleState(False, "ComfyUI was not reached yet"))

    async def _check(self) -> None:
        try:
            async with asyncio.timeout(self._patience.liveness_s):
                info = await self.comfy.info()
        except (ComfyError, TimeoutError) as error:
            await self._miss(error)
            return
        if self._is_new(info):
            self._begin(info)
        self.info = info
        try:
            async with asyncio.timeout(self._patience.request_s):
                await self._check_styles()
        except (ComfyError, TimeoutError) as error:
            await self._miss(error)
            return
        self._misses = 0
        self.is_stranger = False
        if self.fault is None:
            self.in_service.set()

    async def _miss(self, error: Exception) -> None:
        refused = isinstance(error, Refused)
        self.is_stranger = isinstance(error, Strange)
        if refused and self._killed and not self._away:
            log.info("engine_gone")
        self._away = self._away or refused
        self._misses += 1
        if refused or self._misses >= self._patience.misses:
            if self.in_service.is_set():
                log.warning("engine_down", error=str(error) or type(error).__name__)
            self._out_of_service()
        # Not again and again: one that is being started may take long to answer.
        frozen = not refused and self._misses == self._patience.misses and self.info is not None
        if frozen and self.fault is None and self._pid() is not None:
            await self.restart("frozen", self.boots)

    def _out_of_service(self) -> None:
        if self.in_service.is_set():
            self.out_since = time.monotonic()
        self.in_service.clear()

    def _is_new(self, info: EngineInfo) -> bool:
        if self.info is None or info.boot_id != self.info.boot_id:
            return True
        # Without our nodes ComfyUI has no identity: back after having been away counts as new.
        return not info.boot_id and self._away

    def _begin(self, info: EngineInfo) -> None:
        log.info("engine_found", engine=info.name, version=info.version)
        self._away = self._killed = False
        self.boots += 1
        self.fault = None
        self.damaged.clear()
        self._styles_checked_at = None

    def _pid(self) -> int | None:
        if self._pid_file is None:
            return None
        try:
            pid = int(self._pid_file.read_text().strip())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            return None
        ours = "main.py" in command or "gpu_server.sketch" in command
        return pid if ours else None

    async def _check_styles(self) -> None:
        now = time.monotonic()
        checked_at = self._styles_checked_at
        if checked_at is not None and now - checked_at < self._patience.styles_s:
            return
        graphs = {
            (mode.name, style): _sample(mode, style, self.output_class)
            for mode in self.catalog
            for style in mode.styles
        }
        self._styles_checked_at = now
        classes = {str(node["class_type"]) for graph in graphs.values() for node in graph.values()}
        try:
            await self.definitions.renew(classes)
            self.styles = {
                key: await self._style_state(key[1], graph) for key, graph in graphs.items()
            }
        except ComfyError:
            self._styles_checked_at = None
            raise

    async def _style_state(self, style: str, graph: Graph) -> StyleState:
        faults = await self.definitions.faults_in(graph)
        files = tuple(files_of(graph))
        missing = missing_models(faults)
        damaged = sorted(self.damaged.intersection(files))
        if damaged:
            reason = f"{damaged[0]} is damaged; pull it again and restart ComfyUI"
            return StyleState(False, reason, missing, files)
        if missing:
            return StyleState(False, lacking(missing, style), missing, files)
        if any(fault.field == "control_net_name" for fault in faults):
            return StyleState(False, NO_CONTROLNET, files=files)
        if faults:
            return StyleState(False, describe(faults[0]), files=files)
        return StyleState(True, files=files)


def describe(fault: NodeFault) -> str:
    """A node's fault in words."""
    where = f" '{fault.field}'" if fault.field else ""
    return f"node '{fault.node_class}'{where} {fault.message}"


def _sample(mode: Mode, style: str, output_class: str) -> Graph:
    """A graph of the style with values of no importance."""
    texts = {
        name: parameter.default if parameter.default is not None else "sample"
        for name, parameter in mode.spec.parameters.items()
        if parameter.type == "text"
    }
    request = Request(mode=mode.name, style=style, seed=0, **texts)
    image = "sample.png" if mode.takes_image else ""
    rendered = render(
        mode,
        request,
        size=size_of(mode, request),
        prefix="easel/sample",
        image=image,
        output_class=output_class,
    )
    return rendered.graph
