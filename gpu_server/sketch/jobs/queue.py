"""The queue of jobs and the history of finished ones."""

import heapq
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from gpu_server.sketch.graphs.graph import Graph

_MAX_HISTORY = 10_000


class Job(NamedTuple):
    """One accepted graph, with its fields in the order that `GET /queue` shows.

    A plain tuple on purpose: like ComfyUI's, it orders by number and then by id, and comparing two
    pending jobs equal in both raises TypeError, which breaks the real queue too.
    """

    number: float
    prompt_id: str
    graph: Graph
    extra_data: dict[str, Any]
    outputs: list[str]


@dataclass(frozen=True)
class Result:
    """How a job ended; `messages` are pairs of event name and data."""

    success: bool
    messages: list[tuple[str, dict[str, Any]]]
    outputs: dict[str, Any]
    meta: dict[str, Any]


class JobQueue:
    """Pending, running and finished jobs, shared by the event loop and the worker thread.

    `on_change` gets the new number of unfinished jobs while the queue is locked, so that status
    frames are sent in the order of the changes.
    """

    def __init__(self, on_change: Callable[[int], None]) -> None:
        self._changed = threading.Condition()
        self._on_change = on_change
        self._pending: list[Job] = []
        self._running: dict[int, Job] = {}
        self._history: dict[str, dict[str, Any]] = {}
        self._tasks = 0
        self._closed = False

    def put(self, job: Job) -> None:
        """Queue a job. Raises TypeError, but queues it, if a pending one has its number and id."""
        with self._changed:
            heapq.heappush(self._pending, job)
            self._notify()
            self._changed.notify()

    def get(self) -> tuple[int, Job] | None:
        """Wait for the next job and mark it running; return None once the queue is closed.

        Raises TypeError when jobs with equal numbers and ids are pending.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed)
            if self._closed:
                return None
            job = heapq.heappop(self._pending)
            self._tasks += 1
            self._running[self._tasks] = job
            self._notify()
            return self._tasks, job

    def finish(self, task: int, result: Result) -> None:
        with self._changed:
            job = self._running.pop(task)
            if len(self._history) >= _MAX_HISTORY:
                del self._history[next(iter(self._history))]
            self._history[job.prompt_id] = {
                "prompt": job,
                "outputs": result.outputs,
                "status": {
                    "status_str": "success" if result.success else "error",
                    "completed": result.success,
                    "messages": result.messages,
                },
                "meta": result.meta,
            }
            self._notify()

    def _notify(self) -> None:
        self._on_change(self.remaining)

    def close(self) -> None:
        """Make `get` return None from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def remaining(self) -> int:
        with self._changed:
            return len(self._pending) + len(self._running)

    def snapshot(self) -> tuple[list[Job], list[Job]]:
        """Return copies of the running and of the pending jobs."""
        with self._changed:
            return list(self._running.values()), list(self._pending)

    def clear_pending(self) -> None:
        with self._changed:
            self._pending.clear()
            self._notify()

    def delete_pending(self, prompt_ids: Iterable[str]) -> None:
        unwanted = set(prompt_ids)
        with self._changed:
            self._pending = [job for job in self._pending if job.prompt_id not in unwanted]
            heapq.heapify(self._pending)
            self._notify()

    def history(self, max_items: int | None = None, offset: int = -1) -> dict[str, Any]:
        """Return finished jobs, oldest first: the last `max_items`, or that many from `offset`."""
        with self._changed:
            if max_items is not None and max_items <= 0:
                return {}
            if offset < 0 and max_items is not None:
                offset = len(self._history) - max_items
            start = max(offset, 0)
            end = None if max_items is None else start + max_items
            return dict(list(self._history.items())[start:end])

    def history_of(self, prompt_id: str) -> dict[str, Any]:
        with self._changed:
            entry = self._history.get(prompt_id)
            return {} if entry is None else {prompt_id: entry}

    def clear_history(self) -> None:
        with self._changed:
            self._history.clear()

    def delete_history(self, prompt_ids: Iterable[str]) -> None:
        with self._changed:
            for prompt_id in prompt_ids:
                self._history.pop(prompt_id, None)
