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

import httpx
import structlog

from gpu_server.comfy_client import ComfyClient, ComfyError, EngineInfo, NodeFault
from gpu_server.definitions import Definitions
from gpu_server.metrics import Metrics
from workflows.catalog import Catalog, Graph, Mode
from workflows.parameters import Request
from workflows.render import render, size_of

log = structlog.get_logger()

POLL_S = 5.0
DOWN_POLL_S = 0.25
MISSES_UNTIL_DOWN = 4
LIVENESS_TIMEOUT_S = 4.0
RECHECK_STYLES_S = 30.0

FETCH_COMMAND = "python -m gpu_server.models pull --style {style}"


@dataclass(frozen=True)
class StyleState:
    """Whether a style can be drawn now; `missing` are model files ComfyUI does not have."""

    available: bool
    reason: str | None = None
    missing: tuple[str, ...] = ()


class Engine:
    """Watches ComfyUI while `run` runs. `in_service` is set when jobs may be sent to it."""

    def __init__(
        self,
        comfy: ComfyClient,
        catalog: Catalog,
        metrics: Metrics,
        *,
        pid_file: Path | None,
    ) -> None:
        self.comfy = comfy
        self.catalog = catalog
        self.definitions = Definitions(comfy.node_definition)
        self.info: EngineInfo | None = None
        self.in_service = asyncio.Event()
        self.boots = 0
        """How often a ComfyUI was found that is another process than the one before."""
        self.fault: str | None = None
        """Why ComfyUI must be restarted before it is used again, or None."""
        self.damaged: dict[str, str] = {}
        """Model file → what is wrong with it, until ComfyUI was restarted."""
        self.styles: dict[tuple[str, str], StyleState] = {}
        self._metrics = metrics
        self._pid_file = pid_file
        self._wake = asyncio.Event()
        self._misses = 0
        self._away = False
        self._styles_checked_at = 0.0

    @property
    def supervised(self) -> bool:
        """Whether we may kill it: somebody starts it again."""
        return self._pid_file is not None and self._pid_file.is_file()

    @property
    def name(self) -> str:
        """As shown to people and kept with pictures."""
        if self.info is None:
            return "unknown"
        return f"{self.info.name} {self.info.version}".strip()

    @property
    def draws_with_ai(self) -> bool:
        return self.info is None or self.info.name != "sketch"

    @property
    def output_class(self) -> str:
        ours = self.info is not None and self.info.has_our_nodes
        return "EaselOutput" if ours else "PreviewImage"

    async def run(self) -> None:
        """Poll until cancelled: seldom while it is well, often while it is not."""
        while True:
            await self._check()
            self._metrics.comfyui_up.set(self.in_service.is_set())
            self._wake.clear()
            try:
                well = self.in_service.is_set() and not self._misses
                async with asyncio.timeout(POLL_S if well else DOWN_POLL_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def suspect(self) -> None:
        """Somebody got no answer: look now."""
        self._wake.set()

    def count_reconnect(self) -> None:
        self._metrics.reconnects.inc()

    def latch(self, fault: str) -> None:
        """Take the engine out of service until it was restarted."""
        if self.fault is None:
            log.error("engine_latched", fault=fault)
        self.fault = fault
        self.in_service.clear()

    async def restart(self, reason: str) -> bool:
        """Kill ComfyUI so that its supervisor starts a new one; False when nobody would.

        Without a supervisor the engine is latched with the reason instead.
        """
        self.latch(reason)
        pid = self._pid()
        if pid is None:
            return False
        self._metrics.comfyui_restarts.labels(reason=reason).inc()
        log.warning("engine_restart", reason=reason)
        with suppress(ProcessLookupError):  # it may have ended by itself meanwhile
            os.kill(pid, signal.SIGKILL)
        self._wake.set()
        return True

    def damage(self, files: list[str], reason: str) -> None:
        """These model files cannot be loaded: their styles are out until the next restart."""
        self.damaged.update(dict.fromkeys(files, reason))
        self._styles_checked_at = 0.0
        self._wake.set()

    def style(self, mode: str, style: str) -> StyleState:
        return self.styles.get((mode, style), StyleState(False, "ComfyUI was not reached yet"))

    async def _check(self) -> None:
        try:
            async with asyncio.timeout(LIVENESS_TIMEOUT_S):
                info = await self.comfy.info()
        except (ComfyError, TimeoutError) as error:
            await self._miss(error)
            return
        self._misses = 0
        if self._is_new(info):
            self._begin(info)
        self.info = info
        try:
            await self._check_styles()
        except ComfyError as error:
            await self._miss(error)
            return
        if self.fault is None:
            self.in_service.set()

    async def _miss(self, error: Exception) -> None:
        self._misses += 1
        refused = isinstance(error.__cause__, httpx.ConnectError)
        self._away = self._away or refused
        if refused or self._misses >= MISSES_UNTIL_DOWN:
            if self.in_service.is_set():
                log.warning("engine_down", error=str(error) or type(error).__name__)
            self.in_service.clear()
        if not refused and self._misses == MISSES_UNTIL_DOWN and self.info is not None:
            await self.restart("frozen")

    def _is_new(self, info: EngineInfo) -> bool:
        if self.info is None or info.boot_id != self.info.boot_id:
            return True
        # Without our nodes ComfyUI has no identity: back after having been away counts as new.
        return not info.boot_id and self._away

    def _begin(self, info: EngineInfo) -> None:
        log.info("engine_found", engine=info.name, version=info.version)
        self._away = False
        self.boots += 1
        self.fault = None
        self.damaged.clear()
        self.definitions.refresh()
        self._styles_checked_at = 0.0

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
        if time.monotonic() - self._styles_checked_at < RECHECK_STYLES_S:
            return
        self.definitions.refresh()
        found = {}
        for mode in self.catalog:
            for style in mode.styles:
                found[mode.name, style] = await self._style_state(mode, style)
        self.styles = found
        self._styles_checked_at = time.monotonic()

    async def _style_state(self, mode: Mode, style: str) -> StyleState:
        graph = _sample(mode, style, self.output_class)
        faults = await self.definitions.faults_in(graph)
        missing = tuple(f.missing_choice for f in faults if f.missing_choice)
        damaged = [name for name in self.damaged if name in _texts(graph)]
        if damaged:
            return StyleState(False, f"{damaged[0]} is damaged: {self.damaged[damaged[0]]}")
        if missing:
            command = FETCH_COMMAND.format(style=style)
            names = ", ".join(sorted(set(missing)))
            return StyleState(False, f"ComfyUI has no {names}; fetch it with `{command}`", missing)
        if faults:
            return StyleState(False, describe(faults[0]))
        return StyleState(True)


def describe(fault: NodeFault) -> str:
    """A node's fault in words."""
    where = f" '{fault.field}'" if fault.field else ""
    return f"node '{fault.node_class}'{where} {fault.message}"


def _sample(mode: Mode, style: str, output_class: str) -> Graph:
    """A graph of the style with values of no importance."""
    values: dict[str, str | int | float] = {
        name: parameter.default if parameter.default is not None else "sample"
        for name, parameter in mode.spec.parameters.items()
        if parameter.type == "text"
    }
    request = Request(mode.name, style, {**values, "seed": 0})
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


def _texts(graph: Graph) -> set[str]:
    return {
        value for node in graph.values() for value in node["inputs"].values() if type(value) is str
    }
