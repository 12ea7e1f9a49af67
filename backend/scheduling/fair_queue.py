"""Users in a ring, dealt turns in deficit round robin by expected GPU seconds.

Each visit adds a quantum to the user's deficit; a positive deficit buys a turn, and a dearer job
leaves a debt that later visits pay off (surplus round robin), so a heavy job delays its owner and
nobody else. Debts outlive an empty line, credit does not.
"""

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from backend.scheduling.estimates import CostKey, Estimates, cost_key
from backend.scheduling.work import Kind, Work

LineKey = tuple[bool, int, int]


class Job:
    """A job's place and history while the scheduler knows it."""

    __slots__ = (
        "cost",
        "cost_key",
        "excluded",
        "expected",
        "loads",
        "number",
        "pod_id",
        "queued",
        "returned",
        "started",
        "submitted",
        "work",
    )

    def __init__(self, work: Work, number: int, now: float) -> None:
        self.work = work
        self.number = number
        self.submitted = now
        self.cost_key = cost_key(work)
        self.cost = 0.0  # GPU seconds charged to the user
        self.queued = False  # in its user's line
        self.returned = False
        self.pod_id: str | None = None
        self.started = now
        self.expected = 0.0  # seconds on its pod, loading included
        self.loads = False
        self.excluded: frozenset[str] = frozenset()

    @property
    def line_key(self) -> LineKey:
        """Order within the user's line: what came back from a pod, then priority, then age."""
        return (not self.returned, -self.work.priority, self.number)


@dataclass(slots=True)
class Line:
    """One user's waiting jobs by kind, and account in GPU seconds."""

    deficit: float = 0.0
    kinds: dict[Kind, list[Job]] = field(default_factory=dict)
    in_turn: int = 0
    unfinished: set[Job] = field(default_factory=set)

    def head(self, kinds: Iterable[Kind]) -> Job | None:
        heads = [jobs[0] for kind in kinds if (jobs := self.kinds.get(kind))]
        return min(heads, key=lambda job: job.line_key, default=None)

    def waiting(self) -> list[Job]:
        """In order."""
        return sorted((j for jobs in self.kinds.values() for j in jobs), key=lambda j: j.line_key)


class FairQueue:
    """The lines of all users. A user whose jobs have their turn is out of the ring until those
    are on a pod, so each deal visits everybody at most once."""

    def __init__(self, estimates: Estimates) -> None:
        self._estimates = estimates
        self.lines: dict[str, Line] = {}
        self.ring: OrderedDict[str, None] = OrderedDict()
        self._by_kind: dict[Kind, OrderedDict[str, None]] = {}
        self._costs: Counter[CostKey] = Counter()
        self._granted = 0.0
        self._debts: OrderedDict[str, float] = OrderedDict()
        self.waiting = 0

    def cost(self, job: Job) -> float:
        return self._estimates.job(job.cost_key)

    def kinds(self) -> list[Kind]:
        return list(self._by_kind)

    def enrol(self, user: str) -> Line:
        """The user's line, with what is still owed from earlier."""
        line = self.lines.get(user)
        if line is None:
            owed = self._debts.pop(user, self._granted) - self._granted
            line = self.lines[user] = Line(deficit=-max(owed, 0.0))
        return line

    def leave(self, user: str) -> None:
        """A user's last job is done: only a debt is remembered, until rounds have paid it."""
        line = self.lines.pop(user)
        if line.deficit < 0:
            self._debts[user] = self._granted - line.deficit
        while self._debts and next(iter(self._debts.values())) <= self._granted:
            self._debts.popitem(last=False)

    def add(self, job: Job) -> bool:
        """Puts a job into its user's line; True if this brought the user into the ring."""
        user, kind = job.work.user, job.work.kind
        line = self.lines[user]
        insort(line.kinds.setdefault(kind, []), job, key=lambda j: j.line_key)
        self._costs[job.cost_key] += 1
        self.waiting += 1
        job.queued = True
        if user in self.ring:
            self._by_kind.setdefault(kind, OrderedDict()).setdefault(user)
            return False
        return self._join(user)

    def remove(self, job: Job) -> None:
        """Takes a job out of its line: cancelled, or about to be charged."""
        user, kind = job.work.user, job.work.kind
        line = self.lines[user]
        jobs = line.kinds[kind]
        del jobs[bisect_left(jobs, job.line_key, key=lambda j: j.line_key)]
        job.queued = False
        self.waiting -= 1
        self._costs[job.cost_key] -= 1
        if not self._costs[job.cost_key]:
            del self._costs[job.cost_key]
        if not jobs:
            del line.kinds[kind]
            self._forget_kind(user, kind)
        if not line.kinds:
            self.ring.pop(user, None)
            line.deficit = min(line.deficit, 0.0)

    def charge(self, job: Job) -> None:
        """The job's turn has come: out of its line, its expected seconds off the account."""
        job.cost = self.cost(job)
        self.lines[job.work.user].deficit -= job.cost
        self.remove(job)

    def settle(self, job: Job, seconds: float) -> None:
        """Corrects the charge to what the job really took."""
        line = self.lines[job.work.user]
        line.deficit += job.cost - seconds
        job.cost = seconds
        if not line.kinds:
            line.deficit = min(line.deficit, 0.0)

    def enter_turn(self, job: Job) -> None:
        line = self.lines[job.work.user]
        line.in_turn += 1
        self.ring.pop(job.work.user, None)
        for kind in line.kinds:
            self._forget_kind(job.work.user, kind)

    def leave_turn(self, job: Job) -> None:
        line = self.lines[job.work.user]
        line.in_turn -= 1
        self._join(job.work.user)

    def deal(self, kinds: list[Kind], admit: Callable[[Job], bool]) -> None:
        """One round: visits users in ring order, offering their next job of `kinds` to `admit`
        (which takes it, or refuses and so ends the round)."""
        quantum = min(map(self._estimates.job, self._costs), default=0.0)
        if self._round(kinds, quantum, admit):
            return
        debts = [-line.deficit for line in map(self.lines.__getitem__, self.ring)]
        self._round(kinds, quantum + max(0.0, min(debts, default=0.0)), admit)

    def borrow(self, kind: Kind, floor: float, allowed: Callable[[Job], bool]) -> Job | None:
        """The first job of this kind in ring order, out of turn, of a user not below `floor`."""
        users = self._by_kind.get(kind)
        for user in users or ():
            line = self.lines[user]
            if line.deficit < floor:
                # Behind the others, so that a line of debtors is not walked again and again.
                self._by_kind[kind].move_to_end(user)
                return None
            job = next(filter(allowed, line.kinds[kind]), None)
            if job is not None:
                self._by_kind[kind].move_to_end(user)
                return job
        return None

    def _round(self, kinds: list[Kind], quantum: float, admit: Callable[[Job], bool]) -> bool:
        visits = size = len(self.ring)
        dealt = False
        while visits:
            user = next(iter(self.ring))
            line = self.lines[user]
            job = line.head(kinds)
            if job is not None and line.deficit + quantum > 0:
                line.deficit += quantum
                if not admit(job):
                    line.deficit -= quantum
                    break
                dealt = True
                while (job := line.head(kinds)) and line.deficit >= self.cost(job) and admit(job):
                    pass
            else:
                line.deficit += quantum if job is not None else 0.0
                self.ring.move_to_end(user)
            visits -= 1
        self._granted += quantum * (size - visits) / size if size else 0.0
        return dealt or visits > 0

    def _join(self, user: str) -> bool:
        line = self.lines[user]
        if line.in_turn or not line.kinds or user in self.ring:
            return False
        self.ring[user] = None
        for kind in line.kinds:
            self._by_kind.setdefault(kind, OrderedDict())[user] = None
        return True

    def _forget_kind(self, user: str, kind: Kind) -> None:
        users = self._by_kind.get(kind)
        if users is not None:
            users.pop(user, None)
            if not users:
                del self._by_kind[kind]
