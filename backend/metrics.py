"""Prometheus metrics of the backend; no user, prompt or generation is ever a label."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from backend.storage.generations import GenerationRow
from backend.storage.outcome import Outcome
from web import edge, errors
from workflows.parameters import InvalidValues

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
            "easel_generations_refused_total",
            "Generations refused by the prompt policy, by its category",
            ["category"],
            registry=r,
        )
        self.requests_refused = Counter(
            "easel_requests_refused_total",
            "Generation requests refused for any reason, by error code",
            ["code"],
            registry=r,
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
        self.queued = Gauge("easel_queue_depth", "Generations in the queue", registry=r)
        self.running = Gauge("easel_generations_running", "Generations on pods", registry=r)
        self.oldest = Gauge(
            "easel_queue_oldest_seconds", "Age of the oldest queued generation", registry=r
        )
        self.pods_in_service = Gauge("easel_pods_in_service", "Pods in service", registry=r)
        self.pods = Gauge("easel_pods", "Pods configured", registry=r)
        self.moved = Counter(
            "easel_generations_moved_total", "Generations taken off a pod that failed", registry=r
        )
        self.scheduling = Gauge("easel_scheduling", "1 if this replica schedules", registry=r)
        build = Gauge("easel_build_info", "Version", ["version"], registry=r)
        build.labels(version=version).set(1)

    @contextmanager
    def counting_refusals(self) -> Iterator[None]:
        """Count the error with which a generation request is refused."""
        try:
            yield
        except (errors.EaselError, InvalidValues) as error:
            self.requests_refused.labels(edge.as_easel_error(error).code).inc()
            raise

    def ended(self, row: GenerationRow, outcome: Outcome) -> None:
        mode, style = row.request.mode, row.request.style
        result = outcome.error.code if outcome.error else outcome.status.value
        self.jobs.labels(mode, style, result).inc()
        for stage in ("queued", "model", "gpu", "encode", "total"):
            seconds = getattr(outcome.timings, f"{stage}_ms") / 1000
            self.seconds.labels(style, stage).observe(seconds)
