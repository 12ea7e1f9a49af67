"""Measure the scheduler in simulated time: busy pods, model changes, fairness.

Only `backend.scheduling.scheduler` runs, so the machine matters only for the CPU and memory of
`ten_thousand_waiting`.
"""

import random
import resource
import sys
import time
import tracemalloc
from dataclasses import replace
from uuid import UUID

from backend.scheduling.scheduler import Limits, Scheduler, Work
from bench.harness.simulation import OPEN, Arrival, Result, Simulation, first_come
from bench.report import Figures, finish, machine, parser


def works(count: int, users: int, models: int, rng: random.Random) -> list[Work]:
    made = []
    for _ in range(count):
        m = rng.randrange(models)
        user = f"u{rng.randrange(users)}"
        made.append(Work(UUID(int=rng.getrandbits(128)), user, f"s{m}", f"m{m}"))
    return made


def busy(deaths: bool) -> dict[str, float]:
    """Simulate 20 pods, 2 s jobs (10 % noise) and 500 users who ask again once they are served."""
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
    """Simulate mixed styles; `utilisation` of the pods' time does not count loading."""
    rng = random.Random(2)
    arrivals, now = [], 0.0
    for work in works(4000, users, models, rng):
        now += rng.expovariate(utilisation * pods / 2.0)
        arrivals.append((now, work))

    def simulated(limits: Limits) -> Result:
        styles = [f"s{m}" for m in range(models)]
        return Simulation(pods, styles, lambda _: 2.0, load_s, limits).run(arrivals)

    own, drr = simulated(OPEN), simulated(replace(OPEN, affinity=False, ahead_s=0.0))
    mean = {user: sum(waits) / len(waits) for user, waits in drr.users.items()}
    ratios = [
        sum(waits) / len(waits) / max(mean[user], 2.0 / pods) for user, waits in own.users.items()
    ]
    # A wait shorter than one load and one job is not a queue that a scheduler could share out.
    jobs = [wait / max(drr.waits[id_], 2.0 + load_s) for id_, wait in own.waits.items()]
    fcfs = first_come(arrivals, pods, 2.0, load_s)
    return {
        "pods": pods, "users": users, "models": models, "load_s": load_s,
        "utilisation": utilisation,
        "changes": own.changes, "changes_fcfs": fcfs, "changes_ratio": own.changes / fcfs,
        "user_wait_ratio_max": max(ratios), "job_wait_ratio_max": max(jobs),
        "mean_wait_s": sum(own.waits.values()) / len(own.waits),
        "mean_wait_drr_s": sum(drr.waits.values()) / len(drr.waits),
    }  # fmt: skip


def costs() -> dict[str, float]:
    """Measure CPU time and memory with 10,000 waiting."""
    scheduler = Scheduler(OPEN)
    rng = random.Random(3)
    for i in range(20):
        scheduler.pod_up(f"pod{i}", [f"s{m}" for m in range(4)], f"m{i % 4}")
    pending = works(11_000, 500, 4, rng)
    tracemalloc.start()
    for work in pending[:10_000]:
        scheduler.submit(work, 0.0)
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    result = {"memory_mb": memory / 1e6}
    now, spent = 0.0, dict.fromkeys(("submit", "position", "finished", "dispatch"), 0.0)
    running = scheduler.dispatch(now)

    for work in pending[10_000:]:
        now += 0.1
        times = [time.process_time()]
        scheduler.submit(work, now)
        times.append(time.process_time())
        scheduler.position(work.id, now)
        times.append(time.process_time())
        scheduler.finished(running.pop(0).id, now, 2.0)
        times.append(time.process_time())
        running += scheduler.dispatch(now)
        times.append(time.process_time())
        for name, before, after in zip(spent, times, times[1:], strict=False):
            spent[name] += after - before
    # The seconds of a thousand calls are the milliseconds of one.
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
