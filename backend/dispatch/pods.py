"""The pods: what each can draw now, by its own health, and which jobs it must forget."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Final
from uuid import UUID

import structlog

from gpu_server.client import GpuClient
from gpu_server.schemas import FORGOTTEN_AT_ONCE, Health, StyleHealth
from web.errors import EaselError, NotFound
from web.following import ReadOnly

log = structlog.get_logger()

_POLL_S = 2.0
_SUSPECT_POLL_S = 0.5
_SUSPECT_DEBOUNCE_S = 0.1
"""How long to collect suspicions, which many jobs may raise at once."""
_HEALTH_TIMEOUT_S = 4.0
_MISSES_UNTIL_OUT = 2
"""Consecutive misses before a pod counts as out of service."""
LOST_AFTER_S = 8.0
"""How long a pod may be out of service before its jobs go to other pods. A GPU server or a ComfyUI
that restarts takes a few seconds and continues them. Including the poll and two timeouts, a frozen
pod is lost within 11 s."""
_FIRST_LOOK_TIMEOUT_S = 1.5
"""How long to wait at start for the first health of every pod."""


class Pod:
    """One GPU server.

    `changed` is called whenever its service, styles or loaded model change. When it answers again,
    `keeps` is asked about each job it was left with: whether that may still be continued there.
    """

    in_service = ReadOnly[bool]()
    health = ReadOnly[Health | None]()
    """The newest answer."""
    reason = ReadOnly[str]()
    """Why it is out of service."""
    running = ReadOnly[int]()
    """The number of attempts on it."""

    def __init__(
        self,
        name: str,
        client: GpuClient,
        changed: Callable[["Pod"], None],
        keeps: Callable[["Pod", UUID], bool],
    ) -> None:
        self.name: Final = name
        self.client: Final = client
        self.has_looked: Final = asyncio.Event()
        """Set once its health was requested."""
        self._in_service = False
        self._health: Health | None = None
        self._reason = "not reached yet"
        self._running = 0
        self._changed = changed
        self._keeps = keeps
        self._left: set[UUID] = set()
        """Jobs it had when it was lost; it may have finished them."""
        self._abandoned: set[UUID] = set()
        """Jobs to stop and forget as soon as the pod answers."""
        self._settled: set[UUID] = set()
        """Jobs whose outcome is committed: the pod may forget them."""
        self._last_well = time.monotonic()
        self._misses = 0
        self._wake = asyncio.Event()

    @property
    def loaded_model(self) -> str | None:
        return self.health.loaded_model if self.health else None

    @property
    def styles(self) -> frozenset[str]:
        """`mode/style` of what it can draw now."""
        modes = self.health.styles.items() if self.health else ()
        return frozenset(
            f"{mode}/{name}"
            for mode, styles in modes
            for name, style in styles.items()
            if style.available
        )

    def is_lost(self) -> bool:
        """Whether it has been out of service for too long to keep its jobs."""
        return not self.in_service and time.monotonic() - self._last_well >= LOST_AFTER_S

    @contextmanager
    def running_one(self) -> Iterator[None]:
        """Count an attempt as running here."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    def suspect(self) -> None:
        """Check its health now, because a job had trouble with it."""
        self._wake.set()

    def leave(self, job: UUID) -> None:
        """Decide about the job at the next contact: it may be finished, and drawn for nothing."""
        self._left.add(job)

    def abandon(self, job: UUID) -> None:
        """Stop the job and have it forgotten at the next contact."""
        self._abandoned.add(job)

    def settle(self, job: UUID) -> None:
        """Have the job forgotten at leisure: its outcome is committed."""
        self._settled.add(job)

    async def clear(self, job: UUID) -> None:
        """Have the pod forget an earlier job under this id, unless that one may be continued."""
        self._left.discard(job)
        if job in self._abandoned or job in self._settled:
            self._abandoned.discard(job)
            self._settled.discard(job)
            await self.stop(job)

    async def stop(self, job: UUID) -> None:
        """Stop the job and have it forgotten, now or as soon as the pod answers again."""
        try:
            ended = await self.client.delete(job)
            if ended.outcome in ("cancelled", "already_ended"):
                await self.client.delete(job)
        except NotFound:
            return
        except EaselError:
            self.abandon(job)

    async def watch(self) -> None:
        """Poll its health until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                has_answered = await self._look()
                self.has_looked.set()
                if has_answered:
                    self._decide_what_was_left()
                    jobs, self._abandoned = self._abandoned, set()
                    for job in jobs:
                        tasks.create_task(self.stop(job))
                    tasks.create_task(self._acknowledge())
                is_well = self.in_service and not self._misses
                await self._pause(_POLL_S if is_well else _SUSPECT_POLL_S)

    def _decide_what_was_left(self) -> None:
        for job in list(self._left):
            if not self._keeps(self, job):
                self._left.discard(job)
                self.abandon(job)

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_SUSPECT_DEBOUNCE_S)

    async def _look(self) -> bool:
        """Ask for its health. Return whether it answered."""
        before = (self.in_service, self.styles, self.loaded_model)
        try:
            self._health = health = await self.client.health(_HEALTH_TIMEOUT_S)
        except EaselError as error:
            self._miss(error.detail)
            return False
        except ValueError:
            self._miss("It answers in the format of another Easel version")
            return False
        else:
            self._misses = 0
            faults = [state for state in health.checks.values() if state != "ok"]
            self._set_service(health.gpu_available, "; ".join(faults))
            if self.in_service:
                self._last_well = time.monotonic()
            return True
        finally:
            if before != (self.in_service, self.styles, self.loaded_model):
                self._changed(self)

    def _miss(self, reason: str) -> None:
        self._misses += 1
        if self._misses >= _MISSES_UNTIL_OUT:
            self._set_service(False, reason)

    def _set_service(self, in_service: bool, reason: str) -> None:
        if self.in_service and not in_service:
            log.warning("pod_down", pod=self.name, reason=reason)
        elif in_service and not self.in_service:
            log.info("pod_up", pod=self.name, engine=self.health and self.health.engine)
        self._in_service, self._reason = in_service, reason

    async def _acknowledge(self) -> None:
        """Have it forget what is settled; what fails follows at the next contact."""
        while self._settled:
            some = list(islice(self._settled, FORGOTTEN_AT_ONCE))
            self._settled.difference_update(some)
            try:
                await self.client.forget(some)
            except EaselError:
                self._settled.update(some)
                return


class Pods(dict[str, Pod]):
    def __init__(
        self,
        clients: Mapping[str, GpuClient],
        changed: Callable[[Pod], None],
        keeps: Callable[[Pod, UUID], bool],
    ) -> None:
        super().__init__(
            (name, Pod(name, client, changed, keeps)) for name, client in clients.items()
        )

    @property
    def in_service(self) -> list[Pod]:
        return [pod for pod in self.values() if pod.in_service]

    @property
    def styles(self) -> frozenset[str]:
        """`mode/style` of what at least one pod can draw now."""
        return frozenset().union(*(pod.styles for pod in self.in_service))

    def style_states(self, mode: str, style: str) -> list[StyleHealth]:
        """Return what each pod in service reports of a style."""
        modes = [pod.health.styles.get(mode, {}) for pod in self.in_service if pod.health]
        return [styles[style] for styles in modes if style in styles]

    def why_not(self, mode: str, style: str) -> str:
        """Say why no pod in service draws a style; "" if none is in service."""
        health = [pod.health for pod in self.in_service if pod.health]
        reasons = [state.reason for state in self.style_states(mode, style)]
        reasons += [each.broken_modes.get(f"{mode}:{style}") for each in health]
        reasons += [each.broken_modes.get(mode) for each in health]
        unknown = f"no GPU server has the style '{style}' of '{mode}'" if health else ""
        return next((reason for reason in reasons if reason), unknown)

    def settle(self, ended: Iterable[tuple[str, str]]) -> None:
        """Have pods forget these jobs: (id, pod)."""
        for job, pod in ended:
            with suppress(ValueError, KeyError):  # a damaged id; a pod no longer configured
                self[pod].settle(UUID(job))

    async def first_look(self) -> None:
        """Ask each pod once before anyone learns that no GPU can draw; wait for none for long."""
        looks = [asyncio.create_task(pod.has_looked.wait()) for pod in self.values()]
        _, missing = await asyncio.wait(looks, timeout=_FIRST_LOOK_TIMEOUT_S)
        for look in missing:
            look.cancel()
