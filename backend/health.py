"""The platform as a whole: what it can draw now, and how its parts are."""

from dataclasses import dataclass

from backend.dispatch.dispatcher import Dispatcher
from backend.metrics import Metrics
from backend.schemas import BackendHealth, PodInfo, QueueInfo
from gpu_server.modes import describe_modes
from gpu_server.schemas import ModeInfo, StyleHealth
from web import VERSION
from workflows.catalog import Catalog


def out_of_service(checks: dict[str, str]) -> BackendHealth:
    """The health of a platform on which nobody schedules."""
    return BackendHealth(
        status="down",
        gpu_available=False,
        engine="none",
        version=VERSION,
        checks=checks,
        pods=[],
        queue=QueueInfo(waiting=0, running=0, limit=0),
    )


@dataclass(frozen=True)
class Platform:
    catalog: Catalog
    dispatcher: Dispatcher
    metrics: Metrics
    max_queue: int

    def modes(self) -> list[ModeInfo]:
        styles = {
            mode.name: {style: self._style(mode.name, style) for style in mode.styles}
            for mode in self.catalog
        }
        return describe_modes(self.catalog, styles)

    def _style(self, mode: str, style: str) -> StyleHealth:
        """As the best of the pods has it."""
        model = self.catalog.modes[mode].graph_spec(style).model
        pods = [pod for pod in self.dispatcher.pods.values() if pod.in_service]
        states = [state for pod in pods if (state := pod.style(mode, style))]
        able = next((state for state in states if state.available), None)
        none = StyleHealth(available=False, reason="no GPU server answers", model=model, files={})
        return able or next(iter(states), none)

    def checks(self) -> dict[str, str]:
        """What must be in order before a generation can run, each `ok` or what is wrong."""
        pods = self.dispatcher.pods.values()
        if any(pod.in_service and pod.styles for pod in pods):
            return {"pods": "ok"}
        return {"pods": "; ".join(f"{pod.name}: {pod.reason}" for pod in pods)}

    def why_not(self) -> str:
        """What keeps the pods from drawing, without their addresses: fit to be shown."""
        pods = self.dispatcher.pods.values()
        safety = [pod.health.checks.get("safety", "ok") for pod in pods if pod.health]
        wrong = any(state != "ok" for state in safety)
        return "the safety check is out of order" if wrong else "no GPU server answers"

    def health(self) -> BackendHealth:
        checks = self.checks()
        pods = list(self.dispatcher.pods.values())
        serving = [pod for pod in pods if pod.in_service]
        status = "ok" if len(serving) == len(pods) else "degraded" if serving else "down"
        engines = sorted({pod.health.engine for pod in serving if pod.health})
        return BackendHealth(
            status=status,
            gpu_available=checks["pods"] == "ok",
            engine=", ".join(engines) or "none",
            version=VERSION,
            checks=checks,
            pods=[
                PodInfo(
                    name=pod.name,
                    in_service=pod.in_service,
                    engine=pod.health.engine if pod.health else "",
                    loaded_model=pod.health.loaded_model if pod.health else None,
                    running=pod.running,
                    reason=None if pod.in_service else pod.reason,
                    gpu=pod.health.gpu if pod.health else None,
                )
                for pod in pods
            ],
            queue=QueueInfo(
                waiting=self.dispatcher.waiting(),
                running=self.dispatcher.running(),
                limit=self.max_queue,
                oldest_seconds=round(self.dispatcher.oldest_s(), 1),
            ),
        )

    def measure(self) -> None:
        """Bring the gauges up to date."""
        self.metrics.queued.set(self.dispatcher.waiting())
        self.metrics.running.set(self.dispatcher.running())
        self.metrics.oldest.set(self.dispatcher.oldest_s())
        self.metrics.pods.set(len(self.dispatcher.pods))
