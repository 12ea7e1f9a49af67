"""The scheduler by example, as its caller sees it."""

from collections import Counter
from uuid import UUID

import pytest

from backend.scheduling.scheduler import Limits, QueueFull, Scheduler, UserBusy, Work

ROOMY = Limits(queue=100_000, per_user=100_000)


def work(number: int, user: str = "ann", model: str = "m", priority: int = 0) -> Work:
    return Work(UUID(int=number), user, f"style-{model}", model, priority=priority)


def scheduler(pods: int = 1, limits: Limits = ROOMY, models: str = "mn") -> Scheduler:
    made = Scheduler(limits)
    for i in range(pods):
        made.pod_up(f"pod{i}", [f"style-{model}" for model in models], "m")
    return made


def serve(s: Scheduler, jobs: int, seconds: float = 2.0) -> list[int]:
    """Run jobs to their end on whatever pods they get, and return their numbers in that order."""
    order: list[int] = []
    now, running = 0.0, [a.id for a in s.dispatch(0.0)]
    while running and len(order) < jobs:
        now += seconds
        id_ = running.pop(0)
        order.append(id_.int)
        s.finished(id_, now, seconds)
        running += [a.id for a in s.dispatch(now)]
    return order


def test_a_user_with_a_thousand_jobs_does_not_keep_another_waiting() -> None:
    s = scheduler(pods=3)
    for i in range(1000):
        s.submit(work(i), 0.0)
    running = [a.id for a in s.dispatch(0.0)]
    s.submit(work(5000, "bob"), 0.0)
    begun: set[int] = set()
    for id_ in running:
        s.finished(id_, 2.0, 2.0)
        begun |= {a.id.int for a in s.dispatch(2.0)}
    assert 5000 in begun


def test_a_users_higher_priority_goes_first_but_not_past_other_users() -> None:
    s = scheduler()
    s.submit(work(1, "ann"), 0.0)
    s.submit(work(2, "bob"), 0.0)
    s.submit(work(3, "cat"), 0.0)
    s.submit(work(4, "cat", priority=9), 0.0)
    assert serve(s, 4) == [1, 2, 4, 3]


def test_jobs_of_a_lost_pod_are_moved_and_come_first() -> None:
    s = scheduler(pods=1)
    for i in range(5):
        s.submit(work(i), 0.0)
    assert [a.id.int for a in s.dispatch(0.0)] == [0]
    assert s.pod_down("pod0", 1.0) == [UUID(int=0)]
    assert s.dispatch(1.0) == []
    s.pod_up("pod1", ["style-m"])
    assert serve(s, 5) == [0, 1, 2, 3, 4]


def test_a_job_does_not_go_back_to_the_pod_it_failed_on() -> None:
    s = scheduler(pods=2)
    s.submit(work(1), 0.0)
    (first,) = s.dispatch(0.0)
    s.failed_on(first.id, first.pod_id, 1.0)
    (second,) = s.dispatch(1.0)
    assert second.id == first.id
    assert second.pod_id != first.pod_id


def test_the_only_pod_gets_a_job_again_that_failed_on_it() -> None:
    s = scheduler()
    s.submit(work(1), 0.0)
    s.dispatch(0.0)
    s.failed_on(UUID(int=1), "pod0", 1.0)
    assert [a.pod_id for a in s.dispatch(1.0)] == ["pod0"]


def test_a_draining_pod_finishes_and_gets_no_more() -> None:
    s = scheduler()
    for i in range(3):
        s.submit(work(i), 0.0)
    s.dispatch(0.0)
    s.drain("pod0")
    s.finished(UUID(int=0), 2.0, 2.0)
    assert s.dispatch(2.0) == []


def test_a_cancelled_job_leaves_the_queue_or_names_the_pod_that_has_it() -> None:
    s = scheduler()
    s.submit(work(1), 0.0)
    s.submit(work(2), 0.0)
    s.dispatch(0.0)
    assert s.cancel(UUID(int=2)) is None
    assert s.cancel(UUID(int=1)) == "pod0"
    assert s.stats().waiting == 0


def test_without_room_the_answer_says_when_to_come_back() -> None:
    s = scheduler(limits=Limits(queue=3, per_user=2))
    s.submit(work(1), 0.0)
    s.submit(work(2), 0.0)
    with pytest.raises(UserBusy) as busy:
        s.check_user("ann", 0.0)
    s.check_user("bob", 0.0)
    s.check_queue("bob", 0.0)
    with pytest.raises(QueueFull):
        s.check_queue("bob", 0.0, entering=1)
    with pytest.raises(QueueFull, match="half of the queue"):
        s.check_queue("ann", 0.0)
    s.submit(work(4, "bob"), 0.0)
    with pytest.raises(QueueFull) as full:
        s.check_queue("cat", 0.0)
    assert full.value.retry_after >= 1
    with pytest.raises(UserBusy) as later:
        s.check_user("ann", 0.0, ahead=3)
    assert 1 <= busy.value.retry_after < later.value.retry_after, "others wait for their turn"


def test_an_adopted_job_holds_its_pod_and_goes_to_no_other() -> None:
    s = Scheduler()
    s.adopt(work(1), "pod0", 0.0)
    s.pod_up("pod0", ["style-m"])
    s.pod_up("pod1", ["style-m"])
    s.submit(work(2), 0.0)
    assert [(a.id.int, a.pod_id) for a in s.dispatch(0.0)] == [(2, "pod1")]


def test_a_pod_gets_its_next_job_shortly_before_the_running_one_ends() -> None:
    s = scheduler()
    s.submit(work(1), 0.0)
    s.submit(work(2), 0.0)
    s.dispatch(0.0)
    assert s.dispatch(1.0) == []
    wake = s.wake_at(1.0)
    assert wake is not None
    assert [a.id.int for a in s.dispatch(wake)] == [2]


def test_positions_count_up_in_the_order_of_service_and_seconds_grow() -> None:
    s = scheduler()
    for i in range(6):
        s.submit(work(i, "ann" if i < 4 else "bob"), 0.0)
    s.dispatch(0.0)
    waiting = {i: s.position(UUID(int=i), 0.0) for i in range(1, 6)}
    promised = sorted(waiting, key=lambda i: waiting[i].position)
    assert [waiting[i].position for i in promised] == [1, 2, 3, 4, 5]
    seconds = [waiting[i].seconds or 0.0 for i in promised]
    assert seconds == sorted(seconds)
    assert s.position(UUID(int=0), 0.0).position == 0
    s.finished(UUID(int=0), 5.0, 5.0)
    assert serve(s, 5, seconds=5.0) == promised


def test_estimates_converge_to_what_jobs_take() -> None:
    s = scheduler()
    for i in range(30):
        s.submit(work(i), 0.0)
    serve(s, 29, seconds=3.0)
    s.submit(work(99), 87.0)
    assert s.position(UUID(int=99), 87.0).seconds == pytest.approx(6.0, rel=0.05)


def test_heavy_and_light_jobs_share_gpu_seconds_evenly() -> None:
    s = scheduler()
    for i in range(400):
        s.submit(Work(UUID(int=i), "light", "style-m", "m", size=1), 0.0)
        s.submit(Work(UUID(int=1000 + i), "heavy", "style-m", "m", size=16), 0.0)
    spent: Counter[str] = Counter()
    now, running = 0.0, [a.id for a in s.dispatch(0.0)]
    while now < 400:
        id_ = running.pop(0)
        seconds, user = (16, "heavy") if id_.int >= 1000 else (1, "light")
        spent[user] += seconds
        now += seconds
        s.finished(id_, now, seconds)
        running += [a.id for a in s.dispatch(now)]
    assert abs(spent["heavy"] - spent["light"]) <= 3 * 16


def test_mixed_models_are_grouped_and_the_rare_one_is_not_starved() -> None:
    s = scheduler()
    for i in range(300):
        s.submit(work(i, f"user{i % 30}", "m"), 0.0)
    s.submit(work(999, "rare", "n"), 0.0)
    order = serve(s, 301)
    assert order.index(999) <= 62
    assert s.stats().model_changes <= 2


def test_a_new_job_waits_for_the_pod_that_has_its_model_if_that_is_sooner() -> None:
    s = Scheduler(Limits(job_s=2.0, load_s=10.0))
    s.pod_up("warm", ["style-m", "style-n"], "m")
    s.pod_up("cold", ["style-m", "style-n"], "n")
    s.submit(work(1, "ann"), 0.0)
    s.submit(work(2, "bob"), 0.0)
    assert [a.pod_id for a in s.dispatch(0.0)] == ["warm"]
    assert [a.pod_id for a in s.dispatch(1.5)] == ["warm"]
    assert s.stats().model_changes == 0


def test_an_idle_pod_loads_a_model_when_those_that_have_it_are_busy_for_longer() -> None:
    s = Scheduler(Limits(job_s=20.0, load_s=5.0))
    s.pod_up("warm", ["style-m"], "m")
    s.pod_up("cold", ["style-m"], "n")
    s.submit(work(1, "ann"), 0.0)
    s.submit(work(2, "bob"), 0.0)
    assert {a.pod_id for a in s.dispatch(0.0)} == {"warm", "cold"}
