"""The pod's health: its lasting tasks, what a job needs in order, the figures operators see."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client import generate_latest

from gpu_server import schemas
from gpu_server.comfy.engine import Engine
from gpu_server.comfy.events import EventChannel
from gpu_server.jobs.execution import MAX_PROMPTS, JobExecution
from gpu_server.jobs.runner import Runner
from gpu_server.metrics import Metrics
from gpu_server.safety.guard import Guard
from gpu_server.schemas import State
from web import VERSION, tasks
from workflows.catalog import Mode
from workflows.live import LiveCatalog

_CHECKS = ("comfyui", "event_channel", "styles", "warm_up", "safety", "server")
_MAX_REASON = 500
"""Characters of the reasons why no style can be drawn."""


class Background:
    """Runs tasks that never end by themselves, and one warm-up that does."""

    _endless: Sequence[asyncio.Task[None]] = ()
    _warm_up: asyncio.Task[None] | None = None

    @property
    def is_warm(self) -> bool:
        return self._warm_up is not None and self._warm_up.done()

    def broken(self) -> list[str]:
        """Return the tasks that ended although they never should: only a restart helps."""
        return [task.get_name() for task in self._endless if task.done()]

    @asynccontextmanager
    async def running(
        self, endless: Mapping[str, Coroutine[Any, Any, None]], warm_up: Coroutine[Any, Any, None]
    ) -> AsyncIterator[None]:
        self._endless = [asyncio.create_task(work, name=name) for name, work in endless.items()]
        self._warm_up = asyncio.create_task(warm_up, name="warm_up")
        everything = [*self._endless, self._warm_up]
        for task in everything:
            task.add_done_callback(tasks.end_if_broken)
        try:
            yield
        finally:
            for task in everything:
                task.cancel()
            await asyncio.gather(*everything, return_exceptions=True)


@dataclass(kw_only=True)
class PodHealth:
    """Reports on the pod."""

    engine_url: str
    live: LiveCatalog
    engine: Engine
    channel: EventChannel
    execution: JobExecution
    runner: Runner
    guard: Guard
    figures: Metrics
    background: Background

    def checks(self) -> dict[str, str]:
        """Return each check with `ok` or what is wrong."""
        checks = dict.fromkeys(_CHECKS, "ok")
        checks["safety"] = self.guard.fault or "ok"
        checks["comfyui"] = self._comfyui()
        if not self.channel.open.is_set():
            checks["event_channel"] = "the event socket to ComfyUI is not open"
        styles = self.engine.styles.states.values()
        if not any(state.available for state in styles):
            reasons = "; ".join(sorted({state.reason or "" for state in styles}))
            checks["styles"] = f"no style can be drawn: {reasons[:_MAX_REASON]}"
        if not self.background.is_warm:
            checks["warm_up"] = "the default style's model is being loaded"
        if broken := self.background.broken():
            checks["server"] = f"{', '.join(broken)} broke; restart the GPU server"
        return checks

    def _comfyui(self) -> str:
        if self.engine.fault is not None:
            return f"out of service until ComfyUI is restarted: {self.engine.fault}"
        if self.engine.in_service.is_set():
            return "ok"
        if self.engine.is_stranger:
            return f"what answers at {self.engine_url} is no ComfyUI: another program has its port"
        return f"no answer from {self.engine_url}; is ComfyUI running?"

    def ready(self) -> bool:
        return all(state == "ok" for state in self.checks().values())

    def report(self, gpu: dict[str, Any] | None = None) -> schemas.Health:
        """Return everything at once; `gpu` comes from the GPU's driver."""
        checks = self.checks()
        wrong = [name for name, state in checks.items() if state != "ok"]
        status = "ok" if not wrong else "down" if "comfyui" in wrong else "degraded"
        if self.engine.info is None or wrong == ["warm_up"]:
            status = "starting"
        queued, running = self._counts()
        return schemas.Health(
            status=status,
            gpu_available=not wrong,
            engine=self.engine.name,
            version=VERSION,
            checks=checks,
            gpu=gpu,
            capacity=MAX_PROMPTS,
            queued=queued,
            running=running,
            loaded_model=self.execution.loaded_model,
            styles={mode.name: self._styles(mode) for mode in self.live.current},
            broken_modes=self.live.current.out_of_service(),
        )

    def metrics(self, gpu: dict[str, Any] | None) -> bytes:
        """Return the metrics as Prometheus text; `gpu` comes from the GPU's driver."""
        queued, running = self._counts()
        self.figures.queued.set(queued)
        self.figures.running.set(running)
        if gpu is not None:
            self.figures.gpu_memory_used.set(gpu["memory_used"])
            self.figures.gpu_temperature.set(gpu["temperature"])
        return generate_latest(self.figures.registry)

    def _counts(self) -> tuple[int, int]:
        """Return how many jobs wait and how many run."""
        unfinished = self.runner.unfinished()
        running = sum(job.status is State.running for job in unfinished)
        return len(unfinished) - running, running

    def _styles(self, mode: Mode) -> dict[str, schemas.StyleHealth]:
        states = {style: self.engine.styles.state(mode.name, style) for style in mode.styles}
        return {
            style: schemas.StyleHealth(
                available=state.available and self.engine.in_service.is_set(),
                reason=state.reason if self.engine.fault is None else self.engine.fault,
                model=mode.graph_spec(style).model,
                files={name: name not in state.missing for name in state.files},
            )
            for style, state in states.items()
        }
