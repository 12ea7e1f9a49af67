"""Which waiting job a pod takes next: four rules, of which the first that names one decides."""

import math
from dataclasses import dataclass

from backend.scheduling.backlog import Backlog
from backend.scheduling.estimates import Estimates
from backend.scheduling.fair_queue import QueuedWork
from backend.scheduling.pods import Pod, Pods
from backend.scheduling.work import Limits


@dataclass(frozen=True)
class Choice:
    """The rules, in order; each names a job for a pod that has room, and leaves it waiting."""

    backlog: Backlog
    pods: Pods
    estimates: Estimates
    limits: Limits

    def same_model(self, pod: Pod, now: float) -> QueuedWork | None:
        """Take a job of the turn for the model that the pod has."""
        if not self.limits.affinity:
            return None
        kinds = [k for k in self.backlog.turn.kinds if k[1] == pod.model and k[0] in pod.styles]
        job = self.backlog.turn.first(kinds, lambda job: self._allowed(job, pod))
        # Queue it behind a running job only if no idle pod could begin it sooner, loading included.
        if job and pod.jobs and pod.seconds_left(now) > self.estimates.load(job.work.model):
            others = self.pods.in_service()
            if any(not other.jobs and job.work.style in other.styles for other in others):
                return None
        return job

    def stay(self, pod: Pod, now: float) -> QueuedWork | None:
        """Take a job beyond the turn for the loaded model, if the turn can spare the time."""
        if not self.limits.affinity or pod.model is None or not self.backlog.turn.size:
            return None
        load = self.estimates.load(pod.model)
        for kind in self.backlog.queue.kinds():
            if kind[1] == pod.model and kind[0] in pod.styles:
                job = self.backlog.queue.borrow(kind, -load, lambda job: self._allowed(job, pod))
                if job and self._can_spare(self.backlog.queue.cost(job), pod.model, now):
                    return job
        return None

    def change(self, pod: Pod, now: float) -> QueuedWork | None:
        """Take a job of the turn for another model.

        That is a model no pod has, else the one with the most work for each of its pods.
        """
        models = self._worth_loading(self.backlog.turn.models(), now)
        if not models:
            return None
        kinds = [k for k in self.backlog.turn.kinds if k[1] in models and k[0] in pod.styles]
        if self.limits.affinity and kinds:
            having = self.pods.having()
            need = {
                m: self.backlog.turn.seconds[m] / len(having[m]) if m in having else math.inf
                for _, m in kinds
            }
            most = max(need.values())
            kinds = [kind for kind in kinds if need[kind[1]] == most]
        return self.backlog.turn.first(kinds, lambda job: self._allowed(job, pod))

    def beyond(self, pod: Pod, now: float) -> QueuedWork | None:
        """Take a job beyond the turn rather than none, for a pod that cannot serve the turn."""
        if pod.jobs:
            return None
        worth = self._worth_loading({model for _, model in self.backlog.queue.kinds()}, now)
        kinds = [k for k in self.backlog.queue.kinds() if k[0] in pod.styles]
        for kind in sorted(kinds, key=lambda kind: kind[1] != pod.model):
            if kind[1] == pod.model or kind[1] in worth:
                job = self.backlog.queue.borrow(
                    kind, -math.inf, lambda job: self._allowed(job, pod)
                )
                if job is not None:
                    return job
        return None

    def _can_spare(self, seconds: float, model: str, now: float) -> bool:
        """Return whether the turn's other models still begin by its deadline if a pod stays on."""
        left = self.backlog.turn.deadline - now
        having = self.pods.having()
        unserved = 0.0
        for other in self.backlog.turn.models() - {model}:
            work = self.backlog.turn.seconds[other]
            if other not in having:
                unserved += self.estimates.load(other) + work
            elif work / len(having[other]) > left:
                return False
        return seconds + unserved / len(self.pods.in_service()) <= left

    def _worth_loading(self, models: set[str], now: float) -> set[str]:
        """Return the models that the pods having them would not begin sooner than a load takes."""
        if not self.limits.affinity:
            return models
        having = self.pods.having()
        worth = set()
        for model in models:
            pods = having.get(model, ())
            left = [pod.seconds_left(now) for pod in pods]
            work = self.backlog.turn.seconds.get(model, 0.0)
            if not left or (min(left) + work / len(left)) > self.estimates.load(model):
                worth.add(model)
        return worth

    def _allowed(self, job: QueuedWork, pod: Pod) -> bool:
        """Forbid a pod that the job failed on, unless no other pod in service could take it."""
        return pod.id not in job.excluded or not any(
            other.id not in job.excluded and job.work.style in other.styles
            for other in self.pods.in_service()
        )
