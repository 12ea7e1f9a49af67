"""Brings generations to pods: asks the scheduler who is next, draws, and minds what happens.

Lives in the one process that schedules. All of it is memory; what must survive is in the store
and in the durable workflows, which wait here for `assigned` and `drawn`.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import structlog

from backend.drawing import Drawing, Moved
from backend.live import Ending, Live
from backend.metrics import Metrics
from backend.pods import Pod
from backend.scheduler import Limits, Scheduler, Work
from backend.store import Row, Store
from gpu_server.client import GpuClient
from gpu_server.schemas import State
from web import errors

log = structlog.get_logger()

MAX_FAILURES = 3
"""A generation that failed on this many pods (or this often on one) is given up."""
WAKE_S = 1.0


class Dispatcher:
    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        limits: Limits,
        clients: dict[str, GpuClient],
        no_gpu_patience_s: float,
        accepted: Callable[[UUID], None],
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._scheduler = Scheduler(limits)
        self._patience_s = no_gpu_patience_s
        self._accepted = accepted
        self.pods = {name: Pod(name, client, self._pod_changed) for name, client in clients.items()}
        self.live: dict[UUID, Live] = {}
        self._drawings: dict[UUID, asyncio.Task[None]] = {}
        self._failures: dict[UUID, int] = {}
        self._wake = asyncio.Event()
        self._tasks: asyncio.TaskGroup

    # -- what others use -----------------------------------------------------------------

    def check_room(self, user: str) -> None:
        """Raises RateLimited or QueueFull when one more would be too many."""
        self._scheduler.check_room(user, time.monotonic())

    def take(self, row: Row, *, bounded: bool = True) -> Live:
        """Put a committed generation in line, or back on the pod that has it."""
        known = self.live.get(row.id)
        if known is not None:
            return known
        live = Live(row)
        now = time.monotonic()
        if row.pod is not None and row.pod in self.pods:
            self._scheduler.adopt(_work(live), row.pod, now)
            self.live[row.id] = live
            self._draw(live, row.pod)
        else:
            self._scheduler.submit(_work(live), now, bounded=bounded)
            self.live[row.id] = live
        self._accepted(row.id)
        self._pump()
        return live

    def place(self, live: Live) -> tuple[int | None, float | None]:
        """Position in line from 1 (None once on a pod) and seconds until the pictures."""
        try:
            place = self._scheduler.position(live.row.id, time.monotonic())
        except KeyError:
            return None, None
        seconds = None if place.seconds is None else round(place.seconds, 1)
        waiting = live.state is State.queued
        return (max(place.position, 1) if waiting else None), seconds

    async def cancel(self, live: Live) -> None:
        """Stop it wherever it is; `live.done` tells when that is so."""
        live.update(cancelling=True)
        pod_name = None
        with suppress(KeyError):
            pod_name = self._scheduler.cancel(live.row.id)
        if pod_name is None and live.row.id not in self._drawings:
            await self._end(live, Ending(State.cancelled))
        elif pod_name is not None:
            with suppress(errors.EaselError):
                await self.pods[pod_name].client.delete(live.row.id)

    def waiting(self) -> int:
        return self._scheduler.stats().waiting

    def running(self) -> int:
        return self._scheduler.stats().on_pods

    def oldest_s(self) -> float:
        queued = [live.row.created for live in self.live.values() if live.state is State.queued]
        return time.time() - min(queued) if queued else 0.0

    # -- what the durable workflow waits for ---------------------------------------------

    async def assigned(self, generation_id: UUID) -> str | None:
        """The pod chosen for it, or None when it ended without one."""
        live = self.live.get(generation_id)
        if live is None:
            return None
        assigned = asyncio.ensure_future(asyncio.shield(live.assigned))
        done = asyncio.ensure_future(live.done.wait())
        try:
            both: set[asyncio.Future[object]] = {assigned, done}  # type: ignore[arg-type]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return assigned.result() if assigned.done() and not assigned.cancelled() else None
        finally:
            assigned.cancel()
            done.cancel()

    async def drawn(self, generation_id: UUID) -> str:
        """How it ended, once it has: its status."""
        live = self.live.get(generation_id)
        if live is not None:
            await live.done.wait()
            return str(live.state)
        row = await self._store.get(generation_id)
        return str(row.status) if row else "deleted"

    # -- life ----------------------------------------------------------------------------

    async def run(self, ready: asyncio.Event) -> None:
        """Take up what is unfinished, then work until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for row in await self._store.unfinished():
                self.take(row, bounded=False)
            for pod in self.pods.values():
                self._tasks.create_task(pod.watch(), name=f"pod {pod.name}")
            ready.set()
            while True:
                self._pump()
                self._give_up_hopeless()
                self._wake.clear()
                at = self._scheduler.wake_at(time.monotonic())
                pause = WAKE_S if at is None else min(max(at - time.monotonic(), 0.01), WAKE_S)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    def _pump(self) -> None:
        for given in self._scheduler.dispatch(time.monotonic()):
            self._draw(self.live[given.id], given.pod_id)

    def _pod_changed(self, pod: Pod) -> None:
        now = time.monotonic()
        if pod.in_service:
            loaded = pod.health.loaded_model if pod.health else None
            self._scheduler.pod_up(pod.name, pod.styles(), loaded)
        else:
            for generation_id in self._scheduler.pod_down(pod.name, now):
                pod.abandoned.add(generation_id)
                self._move(self.live[generation_id])
        self._metrics.pods_in_service.set(sum(p.in_service for p in self.pods.values()))
        self._wake.set()

    def _move(self, live: Live) -> None:
        """Its pod is gone: stop waiting for it there; the scheduler has it in line again."""
        drawing = self._drawings.pop(live.row.id, None)
        if drawing is not None:
            drawing.cancel()
        self._metrics.moved.inc()
        live.back_in_line()
        self._tasks.create_task(self._store.set_pod(live.row.id, None))

    def _give_up_hopeless(self) -> None:
        """End what no pod could have drawn for a long time."""
        now = time.monotonic()
        able = frozenset().union(*(p.styles() for p in self.pods.values() if p.in_service))
        for live in list(self.live.values()):
            if live.state is not State.queued or live.pod or _style(live.row) in able:
                live.no_pod_since = None
                continue
            live.no_pod_since = live.no_pod_since or now
            if now - live.no_pod_since > self._patience_s:
                minutes = self._patience_s / 60
                error = errors.NoGpu(f"No GPU could draw this for {minutes:.0f} minutes")
                self._scheduler.cancel(live.row.id)
                ending = Ending(State.failed, error=error)
                self._tasks.create_task(self._end(live, ending))

    # -- drawing -------------------------------------------------------------------------

    def _draw(self, live: Live, pod_name: str) -> None:
        task = self._tasks.create_task(self._drawing(live, self.pods[pod_name]))
        self._drawings[live.row.id] = task

    async def _drawing(self, live: Live, pod: Pod) -> None:
        structlog.contextvars.bind_contextvars(generation_id=str(live.row.id))
        if live.row.pod != pod.name:
            await self._store.set_pod(live.row.id, pod.name)
        live.assign(pod.name)
        pod.running += 1
        try:
            ending = await Drawing(live, pod, self._store).to_end()
        except Moved as moved:
            await self._try_elsewhere(live, pod, moved)
            return
        except errors.EaselError as error:
            ending = Ending(State.failed, error=error)
        except Exception as error:  # the outermost edge of a generation: it ends, others go on
            log.exception("generation_broke", error=type(error).__name__)
            ending = Ending(State.failed, error=errors.Internal())
        finally:
            pod.running -= 1
        await self._end(live, ending)
        with suppress(errors.EaselError):  # acknowledged: the pod may forget it; else it expires
            await pod.client.delete(live.row.id)

    async def _try_elsewhere(self, live: Live, pod: Pod, moved: Moved) -> None:
        self._drawings.pop(live.row.id, None)
        failures = self._failures.get(live.row.id, 0) + moved.failed
        self._failures[live.row.id] = failures
        log.warning("generation_moved", pod=pod.name, reason=str(moved), failures=failures)
        if live.cancelling:
            await self._end(live, Ending(State.cancelled))
        elif failures >= MAX_FAILURES:
            error = errors.EngineLost(f"It could not be drawn: {moved}")
            await self._end(live, Ending(State.failed, error=error))
        else:
            self._metrics.moved.inc()
            with suppress(errors.EaselError):
                await pod.client.delete(live.row.id)
            await self._store.set_pod(live.row.id, None)
            live.back_in_line()
            self._scheduler.failed_on(live.row.id, pod.name, time.monotonic())
            self._wake.set()

    async def _end(self, live: Live, ending: Ending) -> None:
        """Keep how it ended, then tell everybody."""
        await self._store.end(live.row.id, ending.status, ending.as_json())
        timings = ending.timings
        self._scheduler.finished(
            live.row.id,
            time.monotonic(),
            timings.gpu_ms / 1000 if timings.gpu_ms else None,
            timings.model_ms / 1000,
            succeeded=ending.status is State.succeeded,
        )
        self._drawings.pop(live.row.id, None)
        self._failures.pop(live.row.id, None)
        self.live.pop(live.row.id, None)
        live.end(ending)
        self._metrics.ended(live.row.order, ending)
        self._pump()
        if live.row.order.has_photo:
            await self._store.forget_photo(live.row.id)


def _style(row: Row) -> str:
    return f"{row.order.request.mode}/{row.order.request.style}"


def _work(live: Live) -> Work:
    values = live.row.order.request.values
    pixels = int(values.get("width", 1024)) * int(values.get("height", 1024))
    return Work(
        id=live.row.id,
        user=live.user,
        style=_style(live.row),
        model=live.row.order.model,
        size=pixels / 2**20 * live.row.order.request.count,
        priority=live.row.order.priority,
    )
