"""Which waiting job a pod takes next: four rules, of which the first that has one decides."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from backend.scheduling.estimates import Estimates
from backend.scheduling.fair_queue import FairQueue, Job
from backend.scheduling.pods import Pod, Pods
from backend.scheduling.turn import Turn
from backend.scheduling.work import Limits

Rule = Callable[[Pod, float], Job | None]


@dataclass(frozen=True)
class Choice:
    """A rule is given a pod with room and the time; the job it names stays where it waits."""

    queue: FairQueue
    turn: Turn
    pods: Pods
    estimates: Estimates
    limits: Limits

    @property
    def rules(self) -> tuple[Rule, ...]:
        """In their order."""
        return (self.same_model, self.stay, self.change, self.beyond)

    def same_model(self, pod: Pod, now: float) -> Job | None:
        """A job of the turn for the model that the pod has."""
        if not self.limits.affinity:
            return None
        kinds = [k for k in self.turn.kinds if k[1] == pod.model and k[0] in pod.styles]
        job = self.turn.first(kinds, lambda job: self._allowed(job, pod))
        # Behind a running job only if no idle pod could have it sooner, loading included.
        if job and pod.jobs and self._idle_for(job):
            return job if pod.seconds_left(now) <= self.estimates.load(job.work.model) else None
        return job

    def stay(self, pod: Pod, now: float) -> Job | None:
        """A job beyond the turn for the loaded model, if those in the turn can spare the time."""
        if not self.limits.affinity or pod.model is None or not self.turn.size:
            return None
        load = self.estimates.load(pod.model)
        for kind in self.queue.kinds():
            if kind[1] == pod.model and kind[0] in pod.styles:
                job = self.queue.borrow(kind, -load, lambda job: self._allowed(job, pod))
                if job and self._can_spare(self.queue.cost(job), pod.model, now):
                    return job
        return None

    def change(self, pod: Pod, now: float) -> Job | None:
        """A job of the turn for another model: one no pod has, else that with most work a pod."""
        models = self._worth_loading(self.turn.models(), now)
        if not models:
            return None
        kinds = [k for k in self.turn.kinds if k[1] in models and k[0] in pod.styles]
        if self.limits.affinity and kinds:
            having = self.pods.having()
            need = {
                m: self.turn.seconds[m] / len(having[m]) if m in having else math.inf
                for _, m in kinds
            }
            most = max(need.values())
            kinds = [kind for kind in kinds if need[kind[1]] == most]
        return self.turn.first(kinds, lambda job: self._allowed(job, pod))

    def beyond(self, pod: Pod, now: float) -> Job | None:
        """A job beyond the turn rather than none: the pod can do nothing for those in the turn."""
        if pod.jobs:
            return None
        worth = self._worth_loading({model for _, model in self.queue.kinds()}, now)
        kinds = [k for k in self.queue.kinds() if k[0] in pod.styles]
        for kind in sorted(kinds, key=lambda kind: kind[1] != pod.model):
            if kind[1] == pod.model or kind[1] in worth:
                job = self.queue.borrow(kind, -math.inf, lambda job: self._allowed(job, pod))
                if job is not None:
                    return job
        return None

    def _can_spare(self, seconds: float, model: str, now: float) -> bool:
        """Whether the turn's other models still all begin by its deadline if a pod stays on."""
        left = self.turn.deadline - now
        having = self.pods.having()
        unserved = 0.0
        for other in self.turn.models() - {model}:
            work = self.turn.seconds[other]
            if other not in having:
                unserved += self.estimates.load(other) + work
            elif work / len(having[other]) > left:
                return False
        return seconds + unserved / len(self.pods.in_service()) <= left

    def _worth_loading(self, models: set[str], now: float) -> set[str]:
        """Models whose waiting jobs would not begin sooner on the pods that have them."""
        if not self.limits.affinity:
            return models
        having = self.pods.having()
        worth = set()
        for model in models:
            pods = having.get(model, ())
            left = [pod.seconds_left(now) for pod in pods]
            work = self.turn.seconds.get(model, 0.0)
            if not left or (min(left) + work / len(left)) > self.estimates.load(model):
                worth.add(model)
        return worth

    def _allowed(self, job: Job, pod: Pod) -> bool:
        """Not on a pod it failed on, unless no other pod in service could take it."""
        return pod.id not in job.excluded or not any(
            other.id not in job.excluded and job.work.style in other.styles
            for other in self.pods.in_service()
        )

    def _idle_for(self, job: Job) -> bool:
        return any(not pod.jobs and job.work.style in pod.styles for pod in self.pods.in_service())
