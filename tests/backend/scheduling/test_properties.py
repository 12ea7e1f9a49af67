"""In whatever order things happen, no job is lost, assigned twice, or left without reason."""

from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from backend.scheduling.scheduler import Limits, Scheduler, Work

PODS = st.sampled_from(["p0", "p1", "p2"])
MODELS = st.sampled_from("abc")
PICK = st.integers(0, 1000)


class AnyOrder(RuleBasedStateMachine):
    """`waiting` and `on_pod` are what the caller knows; the scheduler must agree."""

    def __init__(self) -> None:
        super().__init__()
        self.s = Scheduler(Limits(queue=10_000, per_user=10_000, load_s=3.0))
        self.now = 0.0
        self.count = 0
        self.waiting: dict[UUID, Work] = {}
        self.on_pod: dict[UUID, str] = {}
        self.works: dict[UUID, Work] = {}
        self.up: dict[str, set[str]] = {}

    @rule(user=st.sampled_from("uvw"), model=MODELS, size=st.floats(0.1, 20), priority=PICK)
    def submit(self, user: str, model: str, size: float, priority: int) -> None:
        self.count += 1
        work = Work(UUID(int=self.count), user, model, model, size, priority % 3)
        self.s.submit(work, self.now)
        self.works[work.id] = self.waiting[work.id] = work

    @rule(pod=PODS, styles=st.sets(MODELS))
    def pod_up(self, pod: str, styles: set[str]) -> None:
        self.s.pod_up(pod, styles)
        self.up[pod] = styles

    @rule(pod=PODS)
    def pod_down(self, pod: str) -> None:
        back = self.s.pod_down(pod, self.now)
        assert set(back) == {id_ for id_, at in self.on_pod.items() if at == pod}
        for id_ in back:
            del self.on_pod[id_]
            self.waiting[id_] = self.works[id_]
        self.up.pop(pod, None)

    @rule(pod=PODS)
    def drain(self, pod: str) -> None:
        if pod in self.up:
            self.s.drain(pod)
            self.up[pod] = set()

    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        if self.works and (known := [*self.waiting, *self.on_pod]):
            id_ = known[pick % len(known)]
            assert self.s.cancel(id_) == self.on_pod.get(id_)
            self.waiting.pop(id_, None)

    @rule(pick=PICK, seconds=st.floats(0, 60), succeeded=st.booleans())
    def finish(self, pick: int, seconds: float, succeeded: bool) -> None:
        if self.on_pod:
            id_ = list(self.on_pod)[pick % len(self.on_pod)]
            del self.on_pod[id_]
            self.s.finished(id_, self.now, seconds, 1.0, succeeded=succeeded)

    @rule(pick=PICK)
    def fail(self, pick: int) -> None:
        if self.on_pod:
            id_ = list(self.on_pod)[pick % len(self.on_pod)]
            self.s.failed_on(id_, self.on_pod.pop(id_), self.now)
            self.waiting[id_] = self.works[id_]

    @rule(seconds=st.floats(0, 30))
    def dispatch(self, seconds: float) -> None:
        self.now += seconds
        for assignment in self.s.dispatch(self.now):
            work = self.waiting.pop(assignment.id)
            assert work.style in self.up[assignment.pod_id]
            self.on_pod[assignment.id] = assignment.pod_id
        busy = set(self.on_pod.values())
        assert all(list(self.on_pod.values()).count(pod) <= 2 for pod in busy)
        for pod, styles in self.up.items():
            if pod not in busy and not (busy & self.up.keys()):
                # No busy pod to wait for: an idle pod has taken whatever it can serve.
                assert not [w for w in self.waiting.values() if w.style in styles]

    @invariant()
    def every_job_is_where_the_caller_thinks(self) -> None:
        assert all(self.s.position(id_, self.now).position >= 1 for id_ in self.waiting)
        assert all(self.s.position(id_, self.now).position == 0 for id_ in self.on_pod)
        stats = self.s.stats()
        assert (stats.waiting, stats.on_pods) == (len(self.waiting), len(self.on_pod))

    def teardown(self) -> None:
        """Check that nobody starves: with a pod for everything, all accepted work ends."""
        self.pod_up("p0", set("abc"))
        for _ in range(3 * self.count + 3):
            self.dispatch(5.0)
            for id_ in [*self.on_pod]:
                del self.on_pod[id_]
                self.s.finished(id_, self.now, 2.0)
        assert not self.waiting
        assert self.s.stats().users == 0


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
