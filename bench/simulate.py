"""The scheduler in simulated time: `python -m bench.simulate` prints a table and writes
`bench/results/simulate.json`."""

import heapq
import json
import os
import platform
import random
import resource
import time
import tracemalloc
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from backend.scheduler import Limits, Scheduler, Work

OPEN = Limits(queue=1_000_000, per_user=1_000_000)
Arrival = tuple[float, Work]


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
    """Pods that run what they are given in order and load a model when it differs."""

    def __init__(
        self, pods: int, styles: list[str], seconds: Callable[[Work], float], load_s: float
    ) -> None:
        self.pods = [f"pod{i}" for i in range(pods)]
        self.styles, self.seconds, self.load_s = styles, seconds, load_s
        self.rng = random.Random(7)

    def run(  # noqa: C901, PLR0912, PLR0915 - one event loop reads best in one piece
        self,
        arrivals: list[Arrival],
        limits: Limits,
        again: Callable[[Work, float], Arrival | None] | None = None,
        death_every_s: float = 0.0,
    ) -> Result:
        scheduler, result = Scheduler(limits), Result()
        events: list[tuple[float, int, str, object]] = []
        count = 0
        works: dict[UUID, tuple[float, Work]] = {}
        lines: dict[str, deque[UUID]] = {pod: deque() for pod in self.pods}
        loaded: dict[str, str] = {}
        life = dict.fromkeys(self.pods, 0)
        done: set[UUID] = set()

        def at(when: float, what: str, data: object) -> None:
            nonlocal count
            count += 1
            heapq.heappush(events, (when, count, what, data))

        def begin(pod: str, now: float) -> None:
            if not lines[pod]:
                return
            submitted, work = works[lines[pod][0]]
            load = self.load_s if loaded.get(pod) != work.model else 0.0
            result.changes += bool(load)
            loaded[pod] = work.model
            gpu = self.seconds(work)
            scheduler.started(work.id, now)
            result.waits[work.id] = now + load - submitted
            at(now + load + gpu, "done", (pod, life[pod], gpu, load))

        for pod in self.pods:
            scheduler.pod_up(pod, self.styles)
        for arrival in arrivals:
            at(arrival[0], "submit", arrival[1])
        if death_every_s:
            at(death_every_s, "death", None)
        waking = -1.0
        while events:
            now, _, what, data = heapq.heappop(events)
            match what, data:
                case "submit", Work() as work:
                    works[work.id] = (now, work)
                    scheduler.submit(work, now)
                case "done", (str() as pod, int() as lived, float() as gpu, float() as load):
                    if life[pod] != lived:
                        continue
                    id_ = lines[pod].popleft()
                    result.twice += id_ in done
                    done.add(id_)
                    scheduler.finished(id_, now, gpu, load)
                    result.busy_s += gpu
                    result.loading_s += load
                    result.end = now
                    begin(pod, now)
                    following = again(works[id_][1], now) if again else None
                    if following is not None:
                        at(following[0], "submit", following[1])
                case "death", _:
                    pod = self.rng.choice(self.pods)
                    life[pod] += 1
                    lines[pod].clear()
                    loaded.pop(pod, None)
                    scheduler.pod_down(pod, now)
                    at(now + 10.0, "birth", pod)
                    if len(done) < len(works):
                        at(now + death_every_s, "death", None)
                case "birth", str() as pod:
                    scheduler.pod_up(pod, self.styles)
            for assignment in scheduler.dispatch(now):
                lines[assignment.pod_id].append(assignment.id)
                if len(lines[assignment.pod_id]) == 1:
                    begin(assignment.pod_id, now)
            wake = scheduler.wake_at(now)
            if wake is not None and not now < waking <= wake:
                waking = max(wake, now + 1e-3)
                at(waking, "wake", None)
        for id_, (_, work) in works.items():
            if id_ in result.waits:
                result.users[work.user].append(result.waits[id_])
        result.lost = len(works) - len(done)
        return result


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
    simulation = Simulation(20, [f"s{m}" for m in range(4)], lambda _: rng.gauss(2.0, 0.2), 10.0)
    result = simulation.run(arrivals, OPEN, again, death_every_s=15 if deaths else 0)
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
    simulation = Simulation(pods, [f"s{m}" for m in range(models)], lambda _: 2.0, load_s)
    ours = simulation.run(arrivals, OPEN)
    drr = simulation.run(arrivals, replace(OPEN, affinity=False, ahead_s=0.0))
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
    result |= {f"{name}_ms": total for name, total in spent.items()}
    began = time.process_time()
    scheduler.positions(now + 10)
    result["all_positions_ms"] = (time.process_time() - began) * 1000
    return result


def main() -> None:
    cases = [(20, 500, 4, 10.0, 0.9), (20, 500, 4, 10.0, 1.2), (20, 500, 8, 3.0, 1.2),
             (4, 50, 3, 10.0, 1.2), (1, 10, 3, 10.0, 1.2)]  # fmt: skip
    report: dict[str, object] = {
        "machine": f"{os.cpu_count()} shared cores, {platform.machine()}, "
        f"Python {platform.python_version()}, simulated time",
        "busy": busy(deaths=False),
        "busy_with_a_pod_dying_every_15_s": busy(deaths=True),
        "affinity": [affinity(*case) for case in cases],
        "ten_thousand_waiting": costs(),
    }
    report["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(report["machine"])
    for title, part in report.items():
        for row in part if isinstance(part, list) else [part]:
            if isinstance(row, dict):
                print(f"\n{title}")
                print("\n".join(f"  {name:24}{value:12.4g}" for name, value in row.items()))
    path = Path(__file__).parent / "results" / "simulate.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
