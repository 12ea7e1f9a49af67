"""Brings generations to pods: asks the scheduler who is next, draws, and minds what happens.

Lives in the one process that schedules. All of it is memory, filled from the committed rows.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from uuid import UUID
from weakref import WeakValueDictionary

import sqlalchemy as sa
import structlog

from backend.dispatch.active import Ending, Live
from backend.dispatch.attempt import Drawing, Moved
from backend.dispatch.pods import Pod
from backend.limits.refusals import Abuse
from backend.metrics import Metrics
from backend.scheduling.scheduler import Limits, Scheduler, Work
from backend.storage.database import DatabaseAway
from backend.storage.generations import IMAGE_ERRORS, Order, Row, Store
from gpu_server import schemas as gpu
from gpu_server.client import GpuClient
from gpu_server.schemas import State
from web import errors

log = structlog.get_logger()

MAX_FAILURES = 3
"""A generation that failed on this many pods (or this often on one) is given up."""
FIRST_LOOK_S = 1.5
WAKE_S = 1.0
AGAIN_S = 0.5
FORGOTTEN_S = 5.0
"""Between two looks for what was committed and nobody took."""


class Dispatcher:
    def __init__(
        self,
        store: Store,
        abuse: Abuse,
        metrics: Metrics,
        limits: Limits,
        clients: dict[str, GpuClient],
        no_gpu_patience_s: float,
    ) -> None:
        self._store = store
        self._abuse = abuse
        self._metrics = metrics
        self._scheduler = Scheduler(limits)
        self._patience_s = no_gpu_patience_s
        self.pods = {name: Pod(name, client, self._pod_changed) for name, client in clients.items()}
        self.live: dict[UUID, Live] = {}
        self._entering = 0
        self._entrances: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._drawings: dict[UUID, asyncio.Task[None]] = {}
        self._looked_for_hopeless = 0.0
        self._wake = asyncio.Event()
        self._tasks: asyncio.TaskGroup

    # -- what others use -----------------------------------------------------------------

    @asynccontextmanager
    async def entrance(self, user: str) -> AsyncIterator[None]:
        """Room for one more of this user, kept while inside; one at a time of each user.

        Raises UserBusy or QueueFull when one more would be too many.
        """
        lock = self._entrances.setdefault(user, asyncio.Lock())
        async with lock:
            self._scheduler.check_room(user, time.monotonic(), self._entering)
            self._entering += 1
            try:
                yield
            finally:
                self._entering -= 1

    def free_pod(self, order: Order) -> str | None:
        """The pod that would begin this at once if nobody else comes: committed with the row, it
        spares a commit before the pod is asked. Another pod than that is committed as ever."""
        if self._entering > 1:
            return None
        return self._scheduler.idle_pod(order.style, order.model)

    def take(self, row: Row, *, new: bool = False) -> Live:
        """Put a committed generation in line, or back on the pod that may have it from before."""
        known = self.live.get(row.id)
        if known is not None:
            return known
        live = self._take(row, new=new)
        self._pump()
        return live

    async def find(self, generation_id: UUID) -> Live | None:
        """What is unfinished, and None otherwise. A committed row that nobody took is taken up:
        the answer to its commit was lost, or whoever accepted it is gone."""
        live = self.live.get(generation_id)
        if live is None:
            # Read only now: what had just ended is committed before it leaves `live`.
            row = await self._store.get(generation_id)
            if row is not None and row.ended is None:
                live = self.take(row)
        return live

    def _take(self, row: Row, *, new: bool = False) -> Live:
        live = self.live[row.id] = Live(row)
        now = time.monotonic()
        if row.pod in self.pods and not new:
            self._scheduler.adopt(_work(live), row.pod, now)
            self._draw(live, row.pod, asked=True)
        else:
            self._scheduler.submit(_work(live), now, bounded=False)
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
        live.stop.set()
        if live.row.id in self._drawings:
            return  # whoever draws it passes it on to the pod
        with suppress(KeyError):
            self._scheduler.cancel(live.row.id)
        await self._end(live, Ending(State.cancelled))

    def waiting(self) -> int:
        return self._scheduler.stats().waiting

    def running(self) -> int:
        return self._scheduler.stats().on_pods

    def oldest_s(self) -> float:
        queued = [live.row.created for live in self.live.values() if live.state is State.queued]
        return time.time() - min(queued) if queued else 0.0

    def drop(self) -> None:
        """Nothing goes on here any more: tell who waits for an end."""
        for live in self.live.values():
            live.update(dropped=True)

    # -- life ----------------------------------------------------------------------------

    async def run(self, ready: asyncio.Event) -> None:
        """Take up what is unfinished, then work until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for row in await self._store.unfinished():
                self._take(row)
            for pod in self.pods.values():
                self._tasks.create_task(pod.watch(), name=f"pod {pod.name}")
            self._tasks.create_task(self._take_up_forgotten(), name="forgotten")
            await self._look_at_pods()
            ready.set()
            while True:
                self._wake.clear()
                now = time.monotonic()
                self._leave_lost_pods(now)
                self._pump()
                self._give_up_hopeless(now)
                at = self._scheduler.wake_at(now)
                pause = WAKE_S if at is None else min(max(at - now, 0.01), WAKE_S)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    async def _take_up_forgotten(self) -> None:
        """Find what was committed and nobody took, until cancelled."""
        while True:
            await asyncio.sleep(FORGOTTEN_S)
            try:
                for generation_id in await self._store.unfinished_ids() - self.live.keys():
                    if await self.find(generation_id) is not None:
                        log.warning("generation_found", generation_id=str(generation_id))
            except (DatabaseAway, sa.exc.SQLAlchemyError) as error:
                log.warning("forgotten_not_looked_for", error=type(error).__name__)

    async def _look_at_pods(self) -> None:
        """Ask each pod once before anybody is told that no GPU can draw; wait for none long."""
        looks = [asyncio.ensure_future(pod.looked_at.wait()) for pod in self.pods.values()]
        _, missing = await asyncio.wait(looks, timeout=FIRST_LOOK_S)
        for look in missing:
            look.cancel()

    def _pump(self) -> None:
        for given in self._scheduler.dispatch(time.monotonic()):
            self._draw(self.live[given.id], given.pod_id)

    def _pod_changed(self, pod: Pod) -> None:
        if pod.in_service:
            loaded = pod.health.loaded_model if pod.health else None
            self._scheduler.pod_up(pod.name, pod.styles, loaded)
        else:
            with suppress(KeyError):
                self._scheduler.drain(pod.name)
        self._metrics.pods_in_service.set(sum(p.in_service for p in self.pods.values()))
        self._wake.set()

    def _leave_lost_pods(self, now: float) -> None:
        """Move what lost pods have to others, or back into the line."""
        for pod in self.pods.values():
            if not pod.lost(now):
                continue
            self._scheduler.pod_down(pod.name, now)
            for live in [self.live[generation_id] for generation_id in self._drawings]:
                if live.pod == pod.name:
                    self._move(live, pod)

    def _move(self, live: Live, pod: Pod) -> None:
        """Its pod is gone: stop waiting for it there."""
        if live.closing:
            self._scheduler.finished(live.row.id, time.monotonic())
            return
        self._drawings.pop(live.row.id).cancel()
        pod.abandoned.add(live.row.id)
        live.failures += live.state is State.running  # it may be what the pod was lost of
        log.warning(
            "generation_moved",
            generation_id=str(live.row.id),
            pod=pod.name,
            reason="lost",
            failures=live.failures,
        )
        ending = None
        if live.stop.is_set():
            ending = Ending(State.cancelled)
        elif live.failures >= MAX_FAILURES:
            error = errors.EngineLost(f"GPUs were lost {live.failures} times while drawing it")
            ending = Ending(State.failed, error=error)
        if ending is None:
            self._back_in_line(live, pod)
        else:
            self._scheduler.finished(live.row.id, time.monotonic())
            self._tasks.create_task(self._end(live, ending))

    def _back_in_line(self, live: Live, pod: Pod) -> None:
        # The database goes on naming the old pod: after a crash that one is asked first.
        self._metrics.moved.inc()
        live.back_in_line()
        now = time.monotonic()
        try:
            self._scheduler.failed_on(live.row.id, pod.name, now)
        except KeyError:
            self._scheduler.submit(_work(live), now, bounded=False)
        self._wake.set()

    def _give_up_hopeless(self, now: float) -> None:
        """End what no pod could have drawn for a long time."""
        if now - self._looked_for_hopeless < min(5 * WAKE_S, self._patience_s / 4):
            return
        self._looked_for_hopeless = now
        able = frozenset().union(*(p.styles for p in self.pods.values() if p.in_service))
        for live in list(self.live.values()):
            if live.pod or live.closing or live.style in able:
                live.no_pod_since = None
                continue
            live.no_pod_since = live.no_pod_since or now
            if now - live.no_pod_since > self._patience_s:
                minutes = self._patience_s / 60
                error = errors.NoGpu(f"No GPU could draw this for {minutes:.0f} minutes")
                self._scheduler.cancel(live.row.id)
                self._tasks.create_task(self._end(live, Ending(State.failed, error=error)))

    # -- drawing -------------------------------------------------------------------------

    def _draw(self, live: Live, pod_name: str, *, asked: bool = False) -> None:
        live.update(pod=pod_name)
        work = self._drawing(live, self.pods[pod_name], asked=asked)
        self._drawings[live.row.id] = self._tasks.create_task(work)

    async def _drawing(self, live: Live, pod: Pod, *, asked: bool) -> None:
        # Begun by whatever freed the pod: the ids at hand are those of another request.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**live.trace, generation_id=str(live.row.id))
        await pod.clear(live.row.id)
        if live.kept_pod != pod.name:
            if not await self._store.set_pod(live.row.id, pod.name, known=live.kept_pod):
                self._let_go(live)
                return
            live.kept_pod = pod.name
        pod.running += 1
        try:
            ending = await Drawing(
                live,
                pod,
                self._store,
                asked,
                started=partial(self._started, live),
                drawn=partial(self._drawn, live),
            ).to_end()
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
        pod.fetched.add(live.row.id)

    def _let_go(self, live: Live) -> None:
        """Another process has taken the lead, and this one up; or it was deleted."""
        log.warning("generation_let_go")
        self._scheduler.finished(live.row.id, time.monotonic())
        self._drawings.pop(live.row.id, None)
        self.live.pop(live.row.id, None)
        live.update(dropped=True)

    def _started(self, live: Live) -> None:
        with suppress(KeyError):
            self._scheduler.started(live.row.id, time.monotonic())
        self._wake.set()

    def _drawn(self, live: Live, job: gpu.Job) -> None:
        """The GPU is free for the next, while this one's pictures are still fetched."""
        self._finished(live, job.timings, succeeded=True)

    def _finished(self, live: Live, timings: gpu.Timings, *, succeeded: bool) -> None:
        gpu_s = timings.gpu_ms / 1000 if timings.gpu_ms else None
        self._scheduler.finished(
            live.row.id, time.monotonic(), gpu_s, timings.model_ms / 1000, succeeded=succeeded
        )
        self._pump()

    async def _try_elsewhere(self, live: Live, pod: Pod, moved: Moved) -> None:
        live.failures += moved.failed
        log.warning(
            "generation_moved", pod=pod.name, reason=moved.error.code, failures=live.failures
        )
        if live.failures < MAX_FAILURES and not live.stop.is_set():
            await pod.stop(live.row.id)
            await asyncio.sleep(AGAIN_S)
        else:
            pod.abandoned.add(live.row.id)
        if live.stop.is_set():
            await self._end(live, Ending(State.cancelled))
        elif live.failures >= MAX_FAILURES:
            await self._end(live, Ending(State.failed, error=_last_error(moved.error)))
        else:
            self._drawings.pop(live.row.id, None)
            self._back_in_line(live, pod)

    async def _end(self, live: Live, ending: Ending) -> None:
        """Keep how it ended, then tell everybody."""
        if live.closing:
            return
        live.closing = True
        ended = ending.of(live.row)
        kept = await self._store.end(ended)
        self._finished(live, ending.timings, succeeded=ending.status is State.succeeded)
        self._drawings.pop(live.row.id, None)
        self.live.pop(live.row.id, None)
        live.end(kept or ended, ending.timings)
        self._metrics.ended(live.row.order, ending)
        try:
            await self._tidy(live.row, ending, deleted=kept is None)
        except (DatabaseAway, sa.exc.SQLAlchemyError, *IMAGE_ERRORS) as error:
            log.warning("left_to_the_sweep", error=type(error).__name__)

    async def _tidy(self, row: Row, ending: Ending, *, deleted: bool) -> None:
        error = ending.error
        if isinstance(error, errors.ContentRefused) and error.category != errors.UNCHECKED:
            await self._abuse.note(row.owner, row.user, error.category or "picture")
        if deleted:
            await self._store.delete([row])
        elif row.order.has_photo:
            await self._store.forget_photo(row)


def _last_error(error: errors.EaselError) -> errors.EaselError:
    if isinstance(error, errors.ModelMissing | errors.EngineLost):
        return error
    return errors.EngineLost(f"It could not be drawn: {error.detail}")


def _work(live: Live) -> Work:
    values = live.row.order.request.values
    pixels = int(values.get("width", 1024)) * int(values.get("height", 1024))
    return Work(
        id=live.row.id,
        user=live.user,
        style=live.style,
        model=live.row.order.model,
        size=pixels / 2**20 * live.row.order.request.count,
        priority=live.row.order.priority,
    )
