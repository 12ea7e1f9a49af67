"""Every waiting job's position and expected seconds, taken as a snapshot of the whole queue."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, chain
from uuid import UUID

from backend.scheduling.backlog import Backlog
from backend.scheduling.estimates import CostKey, Estimates
from backend.scheduling.fair_queue import QueuedWork
from backend.scheduling.pods import Pods
from backend.scheduling.work import QueuePosition

_EXACT_BELOW = 200
"""Waiting jobs up to which positions are never stale; above, a snapshot is kept for a while."""
_LIFETIME_S = 1.0
"""How long a short queue's snapshot is kept while nothing but the time has changed."""
_LIFETIME_PER_JOB_S = 1e-3
"""How long to keep a long queue's snapshot, per waiting job: 10 s with 10,000."""
_RETRY_WITHOUT_PODS_S = 30.0


@dataclass
class Positions:
    """Answers where a job stands, from a snapshot that is retaken when it is stale."""

    backlog: Backlog
    pods: Pods
    estimates: Estimates
    _snapshot: "_Snapshot | None" = None
    _taken_at: float = 0.0
    _changed: bool = True

    def changed(self) -> None:
        self._changed = True

    def of(self, job: QueuedWork, now: float) -> QueuePosition:
        """Return where a job stands; in a long queue, some seconds ago."""
        pod = self.pods.get(job.pod_id or "")
        if pod is not None:
            return QueuePosition(0, pod.seconds_until_done(job, now))
        if self._snapshot is None or self._is_stale(now):
            self._snapshot = self._take(now)
            self._taken_at, self._changed = now, False
        known = self._snapshot.known(job)
        if known is not None:
            return known
        rank = sum(map(len, self.backlog.queue.users[job.work.user].kinds.values()))
        return self._snapshot.expected(rank)

    def seconds_until_ends(
        self, jobs: Iterable[QueuedWork], now: float, *, number: int = 1
    ) -> float:
        """Return when this number of jobs will have ended, if others take their places."""
        known = (self.of(job, now).seconds for job in jobs)
        seconds = sorted(s for s in known if s is not None)
        if not seconds:
            return _RETRY_WITHOUT_PODS_S
        rounds, index = divmod(number - 1, len(seconds))
        return max(1.0, rounds * seconds[-1] + seconds[index])

    def _is_stale(self, now: float) -> bool:
        waiting, age = self.backlog.size, now - self._taken_at
        if waiting > _EXACT_BELOW:
            return age >= waiting * _LIFETIME_PER_JOB_S
        return self._changed or age >= _LIFETIME_S

    def _take(self, now: float) -> "_Snapshot":
        pods = self.pods.in_service()
        speeds: dict[str, float] = {}
        for pod in pods:
            for style in pod.styles:
                speeds[style] = speeds.get(style, 0.0) + 1 / self.estimates.speed(pod.id)
        busy_s = sum(pod.seconds_left(now) for pod in pods) / max(len(pods), 1)
        return _Snapshot(self.backlog, self.estimates, speeds, busy_s)


class _Snapshot:
    """The positions of one moment: O(n log n) to take, O(1) to ask.

    `speeds` has by style how many average pods serve it; `busy_s` is the mean time until the pods
    are done with what they have.
    """

    def __init__(
        self, backlog: Backlog, estimates: Estimates, speeds: Mapping[str, float], busy_s: float
    ) -> None:
        queue = backlog.queue
        turn = sorted(backlog.turn.jobs(), key=lambda job: (not job.returned, job.number))
        # By their next visits: those with jobs in the turn come after the ring.
        names = dict.fromkeys(chain(queue.ring, queue.users))
        users = [(queue.users[name], index) for index, name in enumerate(names)]
        waiting = [(user.waiting(), user.deficit, index) for user, index in users if user.kinds]
        keys = {job.cost_key for job in chain(turn, *(jobs for jobs, _, _ in waiting))}
        cost = {key: estimates.job(key) for key in keys}
        ahead = 0.0
        self._by_id: dict[UUID, QueuePosition] = {}
        for position, job in enumerate(chain(turn, _fair_order(waiting, cost)), start=1):
            pods = speeds.get(job.work.style, 0.0)
            own = cost[job.cost_key] + estimates.overhead.value
            seconds = busy_s + ahead / pods + own / min(pods, 1.0) if pods else None
            self._by_id[job.work.id] = QueuePosition(position, seconds)
            ahead += own
        ranks = Counter(rank for jobs, _, _ in waiting for rank in range(len(jobs)))
        in_rounds = accumulate((ranks[r] for r in range(len(ranks))), initial=0)
        self._round_ends = [len(turn) + end for end in in_rounds]
        self._seconds = [known.seconds for known in self._by_id.values()]

    def known(self, job: QueuedWork) -> QueuePosition | None:
        return self._by_id.get(job.work.id)

    def expected(self, rank: int) -> QueuePosition:
        """Return the position of a job that came later, the `rank`-th (from 1) of its user."""
        # It is last in the round that would deal it.
        end = self._round_ends[min(rank, len(self._round_ends) - 1)]
        return QueuePosition(end + 1, self._seconds[end - 1] if end else None)


def _fair_order(
    waiting: Iterable[tuple[list[QueuedWork], float, int]], cost: Mapping[CostKey, float]
) -> list[QueuedWork]:
    """Order the jobs as deficit round robin would deal them: by round, then by ring."""
    quantum = max(min(cost.values(), default=1.0), 1e-6)
    keyed: list[tuple[int, int, int, QueuedWork]] = []
    for jobs, deficit, index in waiting:
        spent = -deficit
        for rank, job in enumerate(jobs):
            keyed.append((max(int(spent // quantum), 0), index, rank, job))
            spent += cost[job.cost_key]
    keyed.sort(key=lambda entry: entry[:3])
    return [job for *_, job in keyed]
