"""Prometheus metrics of the backend; no user, prompt or generation is ever a label."""

from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from backend.storage.generations import GenerationRow, Outcome
from web.errors import EaselError

_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)


class Metrics:
    """One registry per application, so that several can live in one process."""

    def __init__(self, version: str) -> None:
        # Without a second series for each counter, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        self.accepted = counter(
            "easel_generations_accepted_total", "Generations accepted", ["mode"]
        )
        self.refused = counter(
            "easel_generations_refused_total",
            "Generations refused by the prompt policy, by its category",
            ["category"],
        )
        self.requests_refused = counter(
            "easel_requests_refused_total",
            "Requests of any route that were answered with an error, by its code",
            ["code"],
        )
        labels = ["mode", "style", "outcome"]
        self.jobs = counter("easel_generations_total", "Generations ended", labels)
        self.seconds = Histogram(
            "easel_generation_seconds",
            "Seconds a generation spent in each stage",
            ["style", "stage"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.queued = gauge("easel_queue_depth", "Generations in the queue")
        self.running = gauge("easel_generations_running", "Generations on pods")
        self.waiting = gauge(
            "easel_requests_waiting",
            "Requests that wait until their user has fewer unfinished generations",
        )
        self.oldest = gauge("easel_queue_oldest_seconds", "Age of the oldest queued generation")
        self.pods_in_service = gauge("easel_pods_in_service", "Pods in service")
        self.pods = gauge("easel_pods", "Pods configured")
        self.moved = counter(
            "easel_generations_moved_total", "Generations taken off a pod that failed"
        )
        self.unreadable = gauge(
            "easel_rows_unreadable", "Damaged rows found in the database since the start"
        )
        self.webhooks = counter(
            "easel_webhook_deliveries_total",
            "Attempts to deliver a webhook: delivered, failed (tried again), given_up or gone",
            ["outcome"],
        )
        self.webhooks_pending = gauge("easel_webhooks_pending", "Webhooks still to be delivered")
        self.scheduling = gauge("easel_scheduling", "1 if this replica schedules")
        gauge("easel_build_info", "Version", ["version"]).labels(version=version).set(1)

    def answered_with(self, error: EaselError) -> None:
        """Count a request that was answered with an error."""
        self.requests_refused.labels(error.code).inc()

    def ended(self, row: GenerationRow, outcome: Outcome) -> None:
        mode, style = row.request.mode, row.request.style
        result = outcome.error.code if outcome.error else outcome.status.value
        self.jobs.labels(mode, style, result).inc()
        for stage in ("queued", "model", "gpu", "encode", "total"):
            seconds = getattr(outcome.timings, f"{stage}_ms") / 1000
            self.seconds.labels(style, stage).observe(seconds)
