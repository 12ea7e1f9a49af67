"""The scheduler in simulated time: pods busy, model changes, and how fair it is.

Nothing but `backend.scheduling.scheduler` runs, so the machine counts only for what
`ten_thousand_waiting` takes of CPU and memory.
"""

import heapq
import itertools
import random
import resource
import sys
import time
import tracemalloc
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

from backend.scheduling.scheduler import Limits, Scheduler, Work
from bench.report import Figures, finish, machine, parser

OPEN = Limits(queue=1_000_000, per_user=1_000_000)
Arrival = tuple[float, Work]


@dataclass(order=True)
class Event:
    when: float
    number: int
    happen: Callable[[], None] = field(compare=False)
    void: bool = field(default=False, compare=False)


@dataclass
class Result:
    """Waits run from submission to the GPU's start on the picture, model loaded."""

    waits: dict[UUID, float] = field(default_factory=dict)
    users: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    changes: int = 0
    busy_s: float = 0.0
    loading_s: float = 0.0
    end: float = 0.0
    lost: int = 0
    twice: int = 0


class Simulation:
    """Pods that run what they are given in order and load a model when it differs.

    Made for one run. `seconds` is what a picture takes with its model loaded, `load_s` what loading
    takes; `again` is the next thing a user asks for when they are served.
    """

    def __init__(
        self,
        pods: int,
        styles: list[str],
        seconds: Callable[[Work], float],
        load_s: float,
        limits: Limits = OPEN,
        again: Callable[[Work, float], Arrival | None] = lambda _work, _now: None,
        death_every_s: float = 0.0,
    ) -> None:
        self.styles, self.seconds, self.load_s = styles, seconds, load_s
        self.again, self.death_every_s = again, death_every_s
        self.scheduler, self.result, self.rng = Scheduler(limits), Result(), random.Random(7)
        self.now, self.waking = 0.0, -1.0
        self.events: list[Event] = []
        self.count = itertools.count()
        self.works: dict[UUID, Arrival] = {}
        self.done: set[UUID] = set()
        self.lines: dict[str, deque[UUID]] = {f"pod{i}": deque() for i in range(pods)}
        self.drawing: dict[str, Event] = {}
        self.loaded: dict[str, str] = {}

    def run(self, arrivals: list[Arrival]) -> Result:
        for pod in self.lines:
            self.scheduler.pod_up(pod, self.styles)
        for arrival in arrivals:
            self._arrives(arrival)
        if self.death_every_s:
            self._at(self.death_every_s, self._die)
        while self.events:
            event = heapq.heappop(self.events)
            if not event.void:
                self.now = event.when
                event.happen()
                self._dispatch()
        for id_, (_, work) in self.works.items():
            if id_ in self.result.waits:
                self.result.users[work.user].append(self.result.waits[id_])
        self.result.lost = len(self.works) - len(self.done)
        return self.result

    def _at(self, when: float, happen: Callable[[], None]) -> Event:
        event = Event(when, next(self.count), happen)
        heapq.heappush(self.events, event)
        return event

    def _arrives(self, arrival: Arrival) -> None:
        self._at(arrival[0], partial(self._submit, arrival[1]))

    def _submit(self, work: Work) -> None:
        self.works[work.id] = (self.now, work)
        self.scheduler.submit(work, self.now)

    def _dispatch(self) -> None:
        for assignment in self.scheduler.dispatch(self.now):
            line = self.lines[assignment.pod_id]
            line.append(assignment.id)
            if len(line) == 1:
                self._begin(assignment.pod_id)
        wake = self.scheduler.wake_at(self.now)
        if wake is not None and not self.now < self.waking <= wake:
            self.waking = max(wake, self.now + 1e-3)
            self._at(self.waking, lambda: None)

    def _begin(self, pod: str) -> None:
        submitted, work = self.works[self.lines[pod][0]]
        load = self.load_s if self.loaded.get(pod) != work.model else 0.0
        self.result.changes += bool(load)
        self.loaded[pod] = work.model
        gpu = self.seconds(work)
        self.scheduler.started(work.id, self.now)
        self.result.waits[work.id] = self.now + load - submitted
        ends = self.now + load + gpu
        self.drawing[pod] = self._at(ends, partial(self._finish, pod, gpu, load))

    def _finish(self, pod: str, gpu: float, load: float) -> None:
        id_ = self.lines[pod].popleft()
        self.result.twice += id_ in self.done
        self.done.add(id_)
        self.scheduler.finished(id_, self.now, gpu, load)
        self.result.busy_s += gpu
        self.result.loading_s += load
        self.result.end = self.now
        if self.lines[pod]:
            self._begin(pod)
        if following := self.again(self.works[id_][1], self.now):
            self._arrives(following)

    def _die(self) -> None:
        pod = self.rng.choice(list(self.lines))
        self.lines[pod].clear()
        self.loaded.pop(pod, None)
        if pod in self.drawing:
            self.drawing.pop(pod).void = True
        self.scheduler.pod_down(pod, self.now)
        self._at(self.now + 10.0, partial(self._revive, pod))
        if len(self.done) < len(self.works):
            self._at(self.now + self.death_every_s, self._die)

    def _revive(self, pod: str) -> None:
        self.scheduler.pod_up(pod, self.styles)


def first_come(arrivals: list[Arrival], pods: int, gpu_s: float, load_s: float) -> int:
    """Model changes when each pod takes the oldest job, whatever its model."""
    free = [(0.0, i) for i in range(pods)]
    loaded: dict[int, str] = {}
    changes = 0
    for when, work in sorted(arrivals, key=lambda a: a[0]):
        at, pod = heapq.heappop(free)
        change = loaded.get(pod) != work.model
        changes += change
        loaded[pod] = work.model
        heapq.heappush(free, (max(at, when) + gpu_s + load_s * change, pod))
    return changes


def works(count: int, users: int, models: int, rng: random.Random) -> list[Work]:
    made = []
    for _ in range(count):
        m = rng.randrange(models)
        user = f"u{rng.randrange(users)}"
        made.append(Work(UUID(int=rng.getrandbits(128)), user, f"s{m}", f"m{m}"))
    return made


def busy(deaths: bool) -> dict[str, float]:
    """20 pods, 2 s jobs (10 % noise), 500 users who each ask again when they are served."""
    rng = random.Random(1)
    ends = 600.0

    def again(work: Work, now: float) -> Arrival | None:
        new = Work(UUID(int=rng.getrandbits(128)), work.user, work.style, work.model)
        return (now + rng.uniform(0.5, 5), new) if now < ends else None

    arrivals = [
        (rng.uniform(0, 5), Work(UUID(int=rng.getrandbits(128)), f"u{i}", f"s{i % 4}", f"m{i % 4}"))
        for i in range(500)
    ]
    result = Simulation(
        20,
        [f"s{m}" for m in range(4)],
        lambda _: rng.gauss(2.0, 0.2),
        load_s=10.0,
        again=again,
        death_every_s=15 if deaths else 0,
    ).run(arrivals)
    spent = result.busy_s + result.loading_s
    served = [len(waits) for waits in result.users.values()]
    return {
        "pods_busy": spent / (20 * result.end),
        "pods_drawing": result.busy_s / (20 * result.end),
        "jobs": len(result.waits),
        "fewest_jobs_of_a_user": min(served),
        "most_jobs_of_a_user": max(served),
        "model_changes": result.changes,
        "lost": result.lost,
        "drawn_twice": result.twice,
    }


def affinity(
    pods: int, users: int, models: int, load_s: float, utilisation: float
) -> dict[str, float]:
    """Mixed styles; `utilisation` is of the pods' time with no loading at all."""
    rng = random.Random(2)
    arrivals, now = [], 0.0
    for work in works(4000, users, models, rng):
        now += rng.expovariate(utilisation * pods / 2.0)
        arrivals.append((now, work))

    def simulated(limits: Limits) -> Result:
        styles = [f"s{m}" for m in range(models)]
        return Simulation(pods, styles, lambda _: 2.0, load_s, limits).run(arrivals)

    ours, drr = simulated(OPEN), simulated(replace(OPEN, affinity=False, ahead_s=0.0))
    mean = {user: sum(waits) / len(waits) for user, waits in drr.users.items()}
    ratios = [
        sum(waits) / len(waits) / max(mean[user], 2.0 / pods) for user, waits in ours.users.items()
    ]
    # A wait below one loading and one job is no queue, and no scheduler's to divide.
    jobs = [wait / max(drr.waits[id_], 2.0 + load_s) for id_, wait in ours.waits.items()]
    fcfs = first_come(arrivals, pods, 2.0, load_s)
    return {
        "pods": pods, "users": users, "models": models, "load_s": load_s,
        "utilisation": utilisation,
        "changes": ours.changes, "changes_fcfs": fcfs, "changes_ratio": ours.changes / fcfs,
        "user_wait_ratio_max": max(ratios), "job_wait_ratio_max": max(jobs),
        "mean_wait_s": sum(ours.waits.values()) / len(ours.waits),
        "mean_wait_drr_s": sum(drr.waits.values()) / len(drr.waits),
    }  # fmt: skip


def costs() -> dict[str, float]:
    """CPU time and memory with 10,000 waiting."""
    scheduler = Scheduler(OPEN)
    rng = random.Random(3)
    for i in range(20):
        scheduler.pod_up(f"pod{i}", [f"s{m}" for m in range(4)], f"m{i % 4}")
    todo = works(11_000, 500, 4, rng)
    tracemalloc.start()
    for work in todo[:10_000]:
        scheduler.submit(work, 0.0)
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    result = {"memory_mb": memory / 1e6}
    now, spent = 0.0, dict.fromkeys(("submit", "position", "finished", "dispatch"), 0.0)
    running = scheduler.dispatch(now)

    for work in todo[10_000:]:
        now += 0.1
        marks = [time.process_time()]
        scheduler.submit(work, now)
        marks.append(time.process_time())
        scheduler.position(work.id, now)
        marks.append(time.process_time())
        scheduler.finished(running.pop(0).id, now, 2.0)
        marks.append(time.process_time())
        running += scheduler.dispatch(now)
        marks.append(time.process_time())
        for name, before, after in zip(spent, marks, marks[1:], strict=False):
            spent[name] += after - before
    # Seconds of a thousand calls are milliseconds of one.
    result |= {f"{name}_ms": total for name, total in spent.items()}
    began = time.process_time()
    scheduler.position(work.id, now + 10)
    result["all_positions_ms"] = (time.process_time() - began) * 1000
    return result


def main() -> int:
    options = parser("simulate", __doc__).parse_args()
    cases = [(20, 500, 4, 10.0, 0.9), (20, 500, 4, 10.0, 1.2), (20, 500, 8, 3.0, 1.2),
             (4, 50, 3, 10.0, 1.2), (1, 10, 3, 10.0, 1.2)]  # fmt: skip
    report: Figures = {
        "machine": machine(),
        "busy": busy(deaths=False),
        "busy_with_a_pod_dying_every_15_s": busy(deaths=True),
        "affinity": [affinity(*case) for case in cases],
        "ten_thousand_waiting": costs(),
    }
    report["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return finish("simulate", report, options.output)


if __name__ == "__main__":
    sys.exit(main())
