"""The GPU server's Prometheus metrics; no user, prompt or job is ever a label."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)


class Metrics:
    """Every metric, in a registry of its own so that several servers can share a process."""

    def __init__(self, version: str) -> None:
        # Without a second series for each counter, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        r = self.registry
        ProcessCollector(registry=r)
        self.jobs = Counter(
            "easel_gpu_jobs_total", "Jobs ended", ["mode", "style", "outcome"], registry=r
        )
        self.seconds = Histogram(
            "easel_gpu_job_seconds",
            "Seconds a job spent in each stage",
            ["style", "stage"],
            buckets=_BUCKETS,
            registry=r,
        )
        self.queued = Gauge("easel_gpu_queue_depth", "Jobs waiting on this pod", registry=r)
        self.running = Gauge("easel_gpu_jobs_running", "Jobs handed to ComfyUI", registry=r)
        self.idle = Histogram(
            "easel_gpu_idle_seconds",
            "Seconds ComfyUI had nothing to do between two jobs although one was waiting",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5),
            registry=r,
        )
        self.comfyui_up = Gauge("easel_gpu_comfyui_up", "ComfyUI is in service", registry=r)
        self.comfyui_restarts = Counter(
            "easel_gpu_comfyui_restarts_total", "ComfyUI restarts by us", ["reason"], registry=r
        )
        self.out_of_memory = Counter(
            "easel_gpu_oom_total", "Jobs that ran out of GPU memory", registry=r
        )
        self.resubmitted = Counter(
            "easel_gpu_jobs_resubmitted_total", "Jobs sent to ComfyUI again", registry=r
        )
        self.reconnects = Counter(
            "easel_gpu_event_reconnects_total", "Event sockets opened again", registry=r
        )
        self.previews_dropped = Counter(
            "easel_gpu_previews_dropped_total",
            "Previews replaced before anyone took them",
            registry=r,
        )
        self.gpu_memory_used = Gauge("easel_gpu_memory_used_bytes", "GPU memory in use", registry=r)
        self.gpu_temperature = Gauge("easel_gpu_temperature_celsius", "GPU temperature", registry=r)
        build = Gauge("easel_gpu_build_info", "Version", ["version"], registry=r)
        build.labels(version=version).set(1)
