"""Learnt durations: of jobs by style, size and pod, and of loading a model."""

import math
from dataclasses import dataclass

from backend.scheduling.work import Limits, Work

CostKey = tuple[str, int]
"""Style and size bucket; buckets are half octaves, so sizes within 19 % share one."""


def cost_key(work: Work) -> CostKey:
    return work.style, round(2 * math.log2(work.size))


@dataclass(slots=True)
class Average:
    """A plain mean of the first ten values, then an exponentially weighted one."""

    value: float
    count: int = 0

    def add(self, value: float) -> None:
        self.count = min(self.count + 1, 10)
        self.value += (value - self.value) / self.count


class Estimates:
    """What a job will cost; an unknown size is scaled from the style's others, else guessed."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs: dict[CostKey, Average] = {}
        self._rates: dict[str, Average] = {}
        self._loads: dict[str, Average] = {}
        self._speeds: dict[str, Average] = {}
        self.overhead = Average(0.0)
        """Seconds of model loading that come with a job, averaged over recent jobs."""

    def job(self, key: CostKey) -> float:
        """Return the GPU seconds on an average pod."""
        if (known := self._jobs.get(key)) is not None:
            return known.value
        style, bucket = key
        if (rate := self._rates.get(style)) is not None:
            return float(rate.value * 2 ** (bucket / 2))
        return self._limits.job_s

    def load(self, model: str) -> float:
        return self._loads[model].value if model in self._loads else self._limits.load_s

    def speed(self, pod_id: str) -> float:
        """Return a pod's time for a job relative to the average pod: 2.0 takes twice as long."""
        return self._speeds[pod_id].value if pod_id in self._speeds else 1.0

    def learn_job(self, key: CostKey, pod_id: str, seconds: float) -> None:
        style, bucket = key
        if (known := self._jobs.get(key)) is not None:
            # Against the plain mean of all pods: one corrected for speeds could drift with them.
            ratio = seconds / max(known.value, 1e-6)
            self._speeds.setdefault(pod_id, Average(1.0)).add(ratio)
        self._jobs.setdefault(key, Average(0.0)).add(seconds)
        self._rates.setdefault(style, Average(0.0)).add(seconds / 2 ** (bucket / 2))

    def learn_load(self, model: str, seconds: float, *, changed: bool) -> None:
        self.overhead.add(seconds)
        if changed:
            self._loads.setdefault(model, Average(0.0)).add(seconds)
