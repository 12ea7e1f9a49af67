"""The pod's health: what must be in order before a job can run, and the figures operators see."""

from typing import Any

from prometheus_client import generate_latest

from gpu_server import schemas
from gpu_server.background import Background
from gpu_server.comfy.answers import Unreachable
from gpu_server.comfy.engine import Engine
from gpu_server.comfy.events import EventChannel
from gpu_server.jobs.execution import MAX_PROMPTS, JobExecution
from gpu_server.jobs.runner import Runner
from gpu_server.metrics import Metrics
from gpu_server.safety.guard import Guard
from gpu_server.schemas import State
from web import VERSION, errors
from workflows.catalog import Catalog

_CHECKS = ("comfyui", "event_channel", "styles", "warm_up", "safety", "server")
_MAX_REASON = 500
"""Characters of the reasons why no style can be drawn."""


class PodHealth:
    """Reports on the pod and lets an operator release its memory."""

    def __init__(
        self,
        *,
        engine_url: str,
        catalog: Catalog,
        engine: Engine,
        channel: EventChannel,
        execution: JobExecution,
        runner: Runner,
        guard: Guard,
        metrics: Metrics,
        background: Background,
    ) -> None:
        self._engine_url = engine_url
        self._catalog = catalog
        self._engine = engine
        self._channel = channel
        self._execution = execution
        self._runner = runner
        self._guard = guard
        self._metrics = metrics
        self._background = background

    def broken(self) -> list[str]:
        """Return the background tasks that crashed: only a restart of this server helps."""
        return self._background.broken()

    def checks(self) -> dict[str, str]:
        """Return each check with `ok` or what is wrong."""
        checks = dict.fromkeys(_CHECKS, "ok")
        checks["safety"] = self._guard.fault or "ok"
        checks["comfyui"] = self._comfyui()
        if not self._channel.open.is_set():
            checks["event_channel"] = "the event socket to ComfyUI is not open"
        styles = self._engine.styles.all()
        if not any(state.available for state in styles):
            reasons = "; ".join(sorted({state.reason or "" for state in styles}))
            checks["styles"] = f"no style can be drawn: {reasons[:_MAX_REASON]}"
        if not self._background.is_warm:
            checks["warm_up"] = "the default style's model is being loaded"
        if self.broken():
            checks["server"] = f"{', '.join(self.broken())} broke; restart the GPU server"
        return checks

    def _comfyui(self) -> str:
        if self._engine.fault is not None:
            return f"out of service until ComfyUI is restarted: {self._engine.fault}"
        if self._engine.in_service.is_set():
            return "ok"
        if self._engine.is_stranger:
            return f"what answers at {self._engine_url} is no ComfyUI: another program has its port"
        return f"no answer from {self._engine_url}; is ComfyUI running?"

    def ready(self) -> bool:
        return all(state == "ok" for state in self.checks().values())

    def report(self, gpu: dict[str, Any] | None = None) -> schemas.Health:
        """Return everything at once; `gpu` comes from the GPU's driver."""
        checks = self.checks()
        wrong = [name for name, state in checks.items() if state != "ok"]
        status = "ok" if not wrong else "down" if "comfyui" in wrong else "degraded"
        if self._engine.info is None or wrong == ["warm_up"]:
            status = "starting"
        queued, running = self._counts()
        return schemas.Health(
            status=status,
            gpu_available=not wrong,
            engine=self._engine.name,
            version=VERSION,
            checks=checks,
            gpu=gpu,
            capacity=MAX_PROMPTS,
            queued=queued,
            running=running,
            loaded_model=self._execution.loaded_model,
            styles={mode.name: self._styles(mode.name) for mode in self._catalog},
        )

    def metrics(self, gpu: dict[str, Any] | None) -> bytes:
        """Return the metrics as Prometheus text; `gpu` comes from the GPU's driver."""
        queued, running = self._counts()
        self._metrics.queued.set(queued)
        self._metrics.running.set(running)
        if gpu is not None:
            self._metrics.gpu_memory_used.set(gpu["memory_used"])
            self._metrics.gpu_temperature.set(gpu["temperature"])
        return generate_latest(self._metrics.registry)

    async def free(self, *, unload_models: bool) -> None:
        """Release GPU memory. Raises EngineLost if ComfyUI does not answer."""
        try:
            await self._execution.free(unload_models=unload_models)
        except Unreachable as error:
            raise errors.EngineLost("ComfyUI does not answer") from error

    def _counts(self) -> tuple[int, int]:
        """Return how many jobs wait and how many run."""
        unfinished = self._runner.unfinished()
        running = sum(job.status is State.running for job in unfinished)
        return len(unfinished) - running, running

    def _styles(self, mode_name: str) -> dict[str, schemas.StyleHealth]:
        mode = self._catalog.modes[mode_name]
        styles = {}
        for style in mode.styles:
            state = self._engine.styles.state(mode_name, style)
            styles[style] = schemas.StyleHealth(
                available=state.available and self._engine.in_service.is_set(),
                reason=state.reason if self._engine.fault is None else self._engine.fault,
                model=mode.graph_spec(style).model,
                files={name: name not in state.missing for name in state.files},
            )
        return styles
