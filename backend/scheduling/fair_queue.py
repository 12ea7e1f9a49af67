"""A ring of users, each with a queue, dealt turns in deficit round robin by expected GPU seconds.

Each visit adds a quantum to the user's deficit. A positive deficit buys a turn, and work that costs
more leaves a debt which later visits pay off (surplus round robin), so a heavy generation delays
its owner and nobody else. Debts outlive an empty queue; credit does not.
"""

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from backend.scheduling.estimates import CostKey, Estimates, cost_key
from backend.scheduling.work import Kind, Work

OrderKey = tuple[bool, int, int]


@dataclass(slots=True, eq=False)
class QueuedWork:
    """A generation's position and history while the scheduler knows it."""

    work: Work
    number: int
    submitted: float
    cost_key: CostKey = field(init=False)
    cost: float = 0.0  # GPU seconds charged to the user
    queued: bool = False  # in its user's queue
    returned: bool = False  # a pod gave it back
    pod_id: str | None = None
    started: float = 0.0  # on its pod
    expected: float = 0.0  # seconds on its pod, loading included
    loads: bool = False  # its pod loads a model for it
    excluded: frozenset[str] = frozenset()  # pods it failed on

    def __post_init__(self) -> None:
        self.cost_key = cost_key(self.work)

    @property
    def order_key(self) -> OrderKey:
        """Order within the user's queue: what came back from a pod, then priority, then age."""
        return (not self.returned, -self.work.priority, self.number)


@dataclass(slots=True)
class UserQueue:
    """One user's waiting work by kind, and account in GPU seconds. Changed by FairQueue alone."""

    deficit: float = 0.0
    kinds: dict[Kind, list[QueuedWork]] = field(default_factory=dict)
    in_turn: int = 0
    unfinished: set[QueuedWork] = field(default_factory=set)

    def head(self, kinds: Iterable[Kind]) -> QueuedWork | None:
        heads = [jobs[0] for kind in kinds if (jobs := self.kinds.get(kind))]
        return min(heads, key=lambda job: job.order_key, default=None)

    def waiting(self) -> list[QueuedWork]:
        return sorted((j for jobs in self.kinds.values() for j in jobs), key=lambda j: j.order_key)


class FairQueue:
    """The queues of all users.

    A user with work in the open turn is out of the ring until that work is on a pod, so each deal
    visits everybody at most once.
    """

    def __init__(self, estimates: Estimates) -> None:
        self._estimates = estimates
        self.users: dict[str, UserQueue] = {}
        self.ring: OrderedDict[str, None] = OrderedDict()
        self._by_kind: dict[Kind, OrderedDict[str, None]] = {}
        self._costs: Counter[CostKey] = Counter()
        self._granted = 0.0
        self._debts: OrderedDict[str, float] = OrderedDict()
        self.waiting = 0

    def cost(self, job: QueuedWork) -> float:
        return self._estimates.job(job.cost_key)

    def kinds(self) -> list[Kind]:
        return list(self._by_kind)

    def enrol(self, job: QueuedWork) -> None:
        """Count a job as its user's; a new user starts with what they still owe from earlier."""
        user = self.users.get(job.work.user)
        if user is None:
            owed = self._debts.pop(job.work.user, self._granted) - self._granted
            user = self.users[job.work.user] = UserQueue(deficit=-max(owed, 0.0))
        user.unfinished.add(job)

    def forget(self, job: QueuedWork) -> None:
        """Forget a finished job; of a user's last one, only a debt stays until rounds paid it."""
        name, user = job.work.user, self.users[job.work.user]
        user.unfinished.remove(job)
        if user.unfinished:
            return
        del self.users[name]
        if user.deficit < 0:
            self._debts[name] = self._granted - user.deficit
        while self._debts and next(iter(self._debts.values())) <= self._granted:
            self._debts.popitem(last=False)

    def add(self, job: QueuedWork) -> bool:
        """Put a job into its user's queue; True if this brought the user into the ring."""
        name, kind = job.work.user, job.work.kind
        insort(self.users[name].kinds.setdefault(kind, []), job, key=lambda j: j.order_key)
        self._costs[job.cost_key] += 1
        self.waiting += 1
        job.queued = True
        if name in self.ring:
            self._by_kind.setdefault(kind, OrderedDict()).setdefault(name)
            return False
        return self._join(name)

    def remove(self, job: QueuedWork) -> None:
        """Take a job out of its queue, because it was cancelled or is about to be charged."""
        name, kind = job.work.user, job.work.kind
        user = self.users[name]
        jobs = user.kinds[kind]
        del jobs[bisect_left(jobs, job.order_key, key=lambda j: j.order_key)]
        job.queued = False
        self.waiting -= 1
        self._costs[job.cost_key] -= 1
        if not self._costs[job.cost_key]:
            del self._costs[job.cost_key]
        if not jobs:
            del user.kinds[kind]
            self._forget_kind(name, kind)
        if not user.kinds:
            self.ring.pop(name, None)
            user.deficit = min(user.deficit, 0.0)

    def charge(self, job: QueuedWork) -> None:
        """Charge the expected seconds of a job whose turn has come."""
        job.cost = self.cost(job)
        self.users[job.work.user].deficit -= job.cost

    def settle(self, job: QueuedWork, seconds: float) -> None:
        """Correct the charge to what the job really took."""
        user = self.users[job.work.user]
        user.deficit += job.cost - seconds
        job.cost = seconds
        if not user.kinds:
            user.deficit = min(user.deficit, 0.0)

    def enter_turn(self, job: QueuedWork) -> None:
        name, user = job.work.user, self.users[job.work.user]
        user.in_turn += 1
        self.ring.pop(name, None)
        for kind in user.kinds:
            self._forget_kind(name, kind)

    def leave_turn(self, job: QueuedWork) -> None:
        self.users[job.work.user].in_turn -= 1
        self._join(job.work.user)

    def deal(self, kinds: list[Kind], admit: Callable[[QueuedWork], bool]) -> None:
        """Deal a round: offer users' next jobs of `kinds` in ring order until `admit` refuses."""
        quantum = min(map(self._estimates.job, self._costs), default=0.0)
        if self._round(kinds, quantum, admit):
            return
        debts = [-user.deficit for user in map(self.users.__getitem__, self.ring)]
        self._round(kinds, quantum + max(0.0, min(debts, default=0.0)), admit)

    def borrow(
        self, kind: Kind, floor: float, allowed: Callable[[QueuedWork], bool]
    ) -> QueuedWork | None:
        """Return a kind's first job in ring order, out of turn; none of a user below `floor`."""
        names = self._by_kind.get(kind)
        for name in names or ():
            user = self.users[name]
            if user.deficit < floor:
                # Behind the others, so that a queue of debtors is not walked again and again.
                self._by_kind[kind].move_to_end(name)
                return None
            job = next(filter(allowed, user.kinds[kind]), None)
            if job is not None:
                self._by_kind[kind].move_to_end(name)
                return job
        return None

    def _round(
        self, kinds: list[Kind], quantum: float, admit: Callable[[QueuedWork], bool]
    ) -> bool:
        visits = size = len(self.ring)
        dealt = False
        while visits:
            name = next(iter(self.ring))
            user = self.users[name]
            job = user.head(kinds)
            if job is not None and user.deficit + quantum > 0:
                user.deficit += quantum
                if not admit(job):
                    user.deficit -= quantum
                    break
                dealt = True
                while (job := user.head(kinds)) and user.deficit >= self.cost(job) and admit(job):
                    pass
            else:
                user.deficit += quantum if job is not None else 0.0
                self.ring.move_to_end(name)
            visits -= 1
        self._granted += quantum * (size - visits) / size if size else 0.0
        return dealt or visits > 0

    def _join(self, name: str) -> bool:
        user = self.users[name]
        if user.in_turn or not user.kinds or name in self.ring:
            return False
        self.ring[name] = None
        for kind in user.kinds:
            self._by_kind.setdefault(kind, OrderedDict())[name] = None
        return True

    def _forget_kind(self, name: str, kind: Kind) -> None:
        names = self._by_kind.get(kind, OrderedDict())
        names.pop(name, None)
        if not names:
            self._by_kind.pop(kind, None)
