"""Prometheus metrics of the backend; no user, prompt or generation is ever a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from backend.dispatch.active import Ending
from backend.storage.generations import Order

_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


class Metrics:
    """One registry per application, so that several can live in one process."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.accepted = Counter(
            "easel_generations_accepted_total", "Generations accepted", ["mode"], registry=r
        )
        self.refused = Counter(
            "easel_generations_refused_total", "Requests refused, by code", ["code"], registry=r
        )
        self.jobs = Counter(
            "easel_generations_total", "Generations ended", ["mode", "style", "outcome"], registry=r
        )
        self.seconds = Histogram(
            "easel_generation_seconds",
            "Seconds a generation spent in each stage",
            ["style", "stage"],
            buckets=_BUCKETS,
            registry=r,
        )
        self.queued = Gauge("easel_queue_depth", "Generations in line", registry=r)
        self.running = Gauge("easel_generations_running", "Generations on pods", registry=r)
        self.oldest = Gauge("easel_queue_oldest_seconds", "Age of the oldest in line", registry=r)
        self.pods_in_service = Gauge("easel_pods_in_service", "Pods in service", registry=r)
        self.pods = Gauge("easel_pods", "Pods configured", registry=r)
        self.moved = Counter(
            "easel_generations_moved_total", "Generations taken from a pod that failed", registry=r
        )
        self.scheduling = Gauge("easel_scheduling", "This replica schedules", registry=r)
        build = Gauge("easel_build_info", "Version", ["version"], registry=r)
        build.labels(version=version).set(1)

    def ended(self, order: Order, ending: Ending) -> None:
        mode, style = order.request.mode, order.request.style
        outcome = ending.error.code if ending.error else ending.status.value
        self.jobs.labels(mode, style, outcome).inc()
        for stage in ("queued", "model", "gpu", "encode", "total"):
            seconds = getattr(ending.timings, f"{stage}_ms") / 1000
            self.seconds.labels(style, stage).observe(seconds)
