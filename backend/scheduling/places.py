"""A picture of the whole line: every waiting job's position and expected seconds."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate, chain
from uuid import UUID

from backend.scheduling.estimates import CostKey, Estimates
from backend.scheduling.fair_queue import FairQueue, Job
from backend.scheduling.work import Place


class Places:
    """`speeds`: by style, how many average pods serve it; `busy_s`: the mean of what the pods
    still have to do. Taking the picture is O(n log n), asking it O(1)."""

    def __init__(
        self,
        queue: FairQueue,
        in_turn: Iterable[Job],
        estimates: Estimates,
        speeds: Mapping[str, float],
        busy_s: float,
    ) -> None:
        turn = sorted(in_turn, key=lambda job: (not job.returned, job.number))
        lines = [(queue.lines[user], index) for index, user in enumerate(_users(queue))]
        waiting = [(line.waiting(), line.deficit, index) for line, index in lines if line.kinds]
        keys = {job.cost_key for job in chain(turn, *(jobs for jobs, _, _ in waiting))}
        cost = {key: estimates.job(key) for key in keys}
        ahead = 0.0
        self.by_id: dict[UUID, Place] = {}
        for position, job in enumerate(chain(turn, _fair_order(waiting, cost)), start=1):
            pods = speeds.get(job.work.style, 0.0)
            own = cost[job.cost_key] + estimates.overhead
            seconds = busy_s + ahead / pods + own / min(pods, 1.0) if pods else None
            self.by_id[job.work.id] = Place(position, seconds)
            ahead += own
        ranks = Counter(rank for jobs, _, _ in waiting for rank in range(len(jobs)))
        self._round_ends = list(accumulate((ranks[r] for r in range(len(ranks))), initial=0))
        self._round_ends = [len(turn) + end for end in self._round_ends]
        self._seconds = [place.seconds for place in self.by_id.values()]

    def get(self, job: Job, rank: int) -> Place:
        """A job too new for this picture, the `rank`-th of its line (from 1), is placed last in
        the round that would deal it."""
        known = self.by_id.get(job.work.id)
        if known is not None:
            return known
        end = self._round_ends[min(rank, len(self._round_ends) - 1)]
        return Place(end + 1, self._seconds[end - 1] if end else None)


def _users(queue: FairQueue) -> dict[str, None]:
    """In the order of their next visits; who has jobs in turn comes after the ring."""
    return dict.fromkeys(chain(queue.ring, queue.lines))


def _fair_order(
    waiting: Iterable[tuple[list[Job], float, int]], cost: Mapping[CostKey, float]
) -> list[Job]:
    """The order in which deficit round robin would deal the lines: by round, then by ring."""
    quantum = max(min(cost.values(), default=1.0), 1e-6)
    keyed: list[tuple[int, int, int, Job]] = []
    for jobs, deficit, index in waiting:
        spent = -deficit
        for rank, job in enumerate(jobs):
            keyed.append((max(int(spent // quantum), 0), index, rank, job))
            spent += cost[job.cost_key]
    keyed.sort(key=lambda entry: entry[:3])
    return [job for *_, job in keyed]
