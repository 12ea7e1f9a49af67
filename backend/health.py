"""The platform as a whole: what it can draw now, and the state of its parts."""

from dataclasses import dataclass

from prometheus_client import generate_latest

from backend.dispatch.dispatcher import Dispatcher
from backend.dispatch.pods import Pod
from backend.schemas import BackendHealth, PodInfo, QueueInfo
from gpu_server.modes.describing import describe_modes
from gpu_server.schemas import ModeInfo, StyleHealth
from web import VERSION
from workflows.catalog import Mode
from workflows.live import LiveCatalog


def out_of_service(checks: dict[str, str]) -> BackendHealth:
    """Return the health of a platform on which no replica schedules."""
    return BackendHealth(
        status="down",
        gpu_available=False,
        engine="none",
        version=VERSION,
        checks=checks,
        pods=[],
        queue=QueueInfo(waiting=0, running=0, limit=0),
    )


@dataclass(frozen=True, kw_only=True)
class Platform:
    live: LiveCatalog
    dispatcher: Dispatcher
    max_queue: int

    def modes(self) -> list[ModeInfo]:
        catalog = self.live.current
        styles = {
            mode.name: {style: self._style(mode, style) for style in mode.styles}
            for mode in catalog
        }
        return describe_modes(catalog, styles)

    def _style(self, mode: Mode, style: str) -> StyleHealth:
        """Return the style's state on the pod that serves it best."""
        pods = self.dispatcher.pods
        states = pods.style_states(mode.name, style)
        able = next((state for state in states if state.available), None)
        reason = pods.why_not(mode.name, style) or "no GPU server answers"
        model = mode.graph_spec(style).model
        none = StyleHealth(available=False, reason=reason, model=model, files={})
        return able or next(iter(states), none)

    def checks(self) -> dict[str, str]:
        """Return what a generation needs in order to run: `ok`, or what is wrong."""
        pods = self.dispatcher.pods
        if pods.styles:
            return {"pods": "ok"}
        return {"pods": "; ".join(f"{pod.name}: {pod.reason}" for pod in pods.values())}

    def why_not(self) -> str:
        """Return why no pod can draw, without addresses, so that anyone may read it."""
        pods = self.dispatcher.pods.values()
        safety = [pod.health.checks.get("safety", "ok") for pod in pods if pod.health]
        is_broken = any(state != "ok" for state in safety)
        return "the safety check is out of order" if is_broken else "no GPU server answers"

    def health(self) -> BackendHealth:
        checks = self.checks()
        pods, serving = self.dispatcher.pods, self.dispatcher.pods.in_service
        queue = self.dispatcher.queue
        stats = queue.stats()
        status = "ok" if len(serving) == len(pods) else "degraded" if serving else "down"
        engines = sorted({pod.health.engine for pod in serving if pod.health})
        return BackendHealth(
            status=status,
            gpu_available=checks["pods"] == "ok",
            engine=", ".join(engines) or "none",
            version=VERSION,
            checks=checks,
            pods=[_pod_info(pod) for pod in pods.values()],
            queue=QueueInfo(
                waiting=stats.waiting,
                running=stats.on_pods,
                limit=self.max_queue,
                oldest_seconds=round(queue.oldest_s(), 1),
            ),
            broken_modes=self.live.current.out_of_service(),
        )

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus' text format, with the gauges brought up to date."""
        queue, metrics = self.dispatcher.queue, self.dispatcher.metrics
        metrics.queued.set(queue.stats().waiting)
        metrics.running.set(queue.stats().on_pods)
        metrics.waiting.set(len(queue.turns))
        metrics.oldest.set(queue.oldest_s())
        metrics.pods.set(len(self.dispatcher.pods))
        return generate_latest(metrics.registry)


def _pod_info(pod: Pod) -> PodInfo:
    return PodInfo(
        name=pod.name,
        in_service=pod.in_service,
        engine=pod.health.engine if pod.health else "",
        loaded_model=pod.loaded_model,
        running=pod.running,
        reason=None if pod.in_service else pod.reason,
        gpu=pod.health.gpu if pod.health else None,
    )
