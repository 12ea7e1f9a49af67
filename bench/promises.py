"""The promised figures, and where to find their measurements."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_NOT_MEASURED = "not recorded"


@dataclass(frozen=True)
class Promise:
    """A bound on one figure, or on the worst of several that its path finds."""

    what: str
    bench: str
    """The module that measures it, and its file in `results/`."""
    path: str
    """Keys from the top of the document, joined by dots; `*` stands for every key."""
    limit: float
    unit: str = ""
    at_least: bool = False
    headline: bool = False
    """Whether the project's README shows it."""

    @property
    def bound(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self._shown(self.limit)}"

    def measured(self, figures: Mapping[str, Any]) -> float | None:
        """Return the worst figure at the path, or None without one."""
        values = [
            float(value) for value in _values_at(figures, self.path.split(".")) if value is not None
        ]
        return (min if self.at_least else max)(values, default=None)

    def missed(self, figures: Mapping[str, Any]) -> bool:
        value = self.measured(figures)
        return value is not None and (value < self.limit if self.at_least else value > self.limit)

    def row(self, figures: Mapping[str, Any]) -> str:
        """Format a row of a Markdown table: figure, promised, measured."""
        value = self.measured(figures)
        shown = _NOT_MEASURED if value is None else self._shown(value)
        missed = " **missed**" if self.missed(figures) else ""
        return f"| {self.what} | {self.bound} | {shown}{missed} |"

    def _shown(self, value: float) -> str:
        number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
        return f"{number} {self.unit}".rstrip()


def _values_at(document: Any, keys: list[str]) -> Iterator[Any]:
    if not keys:
        yield document
        return
    inner: Iterable[Any]
    if keys[0] == "*":
        inner = document.values() if isinstance(document, dict) else document
    else:
        inner = [document[keys[0]]] if keys[0] in document else []
    for one in inner:
        yield from _values_at(one, keys[1:])


PROMISES = (
    Promise("time added to a 64 px no-op graph, p50",
            "backend", "latency.added_p50_ms", 10, "ms", headline=True),
    Promise("the same, p95", "backend", "latency.added_p95_ms", 20, "ms"),
    Promise("throughput of that graph with 8 clients, relative to a direct client",
            "backend", "throughput.ratio", 0.8, at_least=True, headline=True),
    Promise("GPU server alone: time added, p50",
            "gpu_server", "added_ms_p50", 6, "ms"),
    Promise("GPU server alone: throughput with 8 clients, relative to a direct client",
            "gpu_server", "jobs_per_s_ratio", 0.9, at_least=True),
    Promise("time to the JPEG of a 1024 px photo-like image, relative to a direct client's PNG",
            "gpu_server", "jpeg_to_png_ratio", 0.5, headline=True),
    Promise("GPU idle time between two queued jobs, p50",
            "gpu_server", "gpu_idle_ms_p50", 5, "ms", headline=True),
    Promise("GPU server: memory gained over 1,000 jobs",
            "gpu_server", "memory_gained_mb", 5, "MB"),
    Promise("10,000 queued: requests accepted per second",
            "backend", "queue.accepted_s", 200, "/s", at_least=True, headline=True),
    Promise("10,000 queued: backend memory above idle",
            "backend", "queue.memory_above_idle_mb", 150, "MB"),
    Promise("10,000 queued: dispatch time, relative to a short queue",
            "backend", "queue.dispatch_long_to_short", 2),
    Promise("20 simulated pods, 500 users: share of time pods are busy",
            "simulate", "busy.pods_busy", 0.95, at_least=True, headline=True),
    Promise("mixed styles: model changes, relative to first come, first served",
            "simulate", "affinity.*.changes_ratio", 0.25, headline=True),
    Promise("mixed styles: a user's mean wait, relative to fair turns",
            "simulate", "affinity.*.user_wait_ratio_max", 2),
    Promise("bot: from chat message to request at the backend, p50",
            "bot", "message_to_request_ms.p50", 30, "ms"),
    Promise("500 chats at once: time to the last request",
            "bot", "at_once_to_request_ms.max", 2000, "ms"),
    Promise("500 chats at once: bot memory", "bot", "memory_most_mb", 200, "MB"),
    Promise("all services idle: CPU (of one core)",
            "idle", "cpu_percent", 4, "%"),
    Promise("all services idle: memory without the engine",
            "idle", "memory_without_engine_mb", 450, "MB"),
    Promise("`./startup.sh` until ready, already set up",
            "startup", "start.p50_s", 6, "s", headline=True),
    Promise("`kill -9` of GPU server or backend until ready to draw again",
            "startup", "killed.*.p50_s", 5, "s", headline=True),
    Promise("services killed, ended and frozen at random: accepted generations lost",
            "chaos", "*.lost", 0),
    Promise("the same: images drawn twice", "chaos", "*.drawn twice", 0),
    Promise("the same: files left behind", "chaos", "*.left behind", 0),
    Promise("output gate, 1024 px image, p50", "safety", "gate.1024 px.p50_ms", 80, "ms"),
    Promise("signing a 1024 px image, p50", "safety", "sign.*.p50_ms", 30, "ms"),
    Promise("prompt policy, 1,500 characters, p95", "policy", "ordinary.*.p95_ms", 1, "ms"),
    Promise("sketch engine: CPU for a 1024 px image, p50",
            "sketch", "drawn.*.*.p50_ms", 400, "ms"),
    Promise("ComfyUI's open templates of pictures whose nodes are known: become a mode",
            "templates", "modes_percent_of_known_nodes", 95, "%", at_least=True),
    Promise("time `easel-ssh exec` adds to plain `ssh`", "ssh", "added_ms", 150, "ms"),
    Promise("remote commands run by `easel-ssh status`", "ssh", "status_commands", 1),
)  # fmt: skip
BENCHES = tuple(dict.fromkeys(promise.bench for promise in PROMISES))


def promises_of(bench: str) -> list[Promise]:
    return [promise for promise in PROMISES if promise.bench == bench]


def rows(promises: Iterable[Promise], results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Format a Markdown table of promises and their measurements."""
    lines = [promise.row(results.get(promise.bench, {})) for promise in promises]
    return ["| figure | promised | measured |", "|---|---|---|", *lines]
