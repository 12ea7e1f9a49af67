"""The pods: what each can draw now, told by its own health, and what becomes of it."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

import structlog

from gpu_server.client import GpuClient
from gpu_server.schemas import FORGOTTEN_AT_ONCE, Health, StyleHealth
from web.errors import EaselError, NotFound

log = structlog.get_logger()

POLL_S = 2.0
SUSPECT_POLL_S = 0.5
HEALTH_TIMEOUT_S = 4.0
MISSES_UNTIL_OUT = 2
LOST_AFTER_S = 8.0
"""A pod out of service for so long loses its jobs to others. Until then it may come back and go on
with them: a GPU server or a ComfyUI that was restarted takes a few seconds. With the poll and two
time-outs a frozen pod is lost within 11 s."""


@dataclass
class Pod:
    """One GPU server. `in_service` follows its health; `changed` is told of every turn."""

    name: str
    client: GpuClient
    changed: Callable[["Pod"], None]
    in_service: bool = False
    health: Health | None = None
    reason: str = "not reached yet"
    running: int = 0
    abandoned: set[UUID] = field(default_factory=set)
    """Jobs that were moved away; to be stopped here as soon as the pod answers."""
    fetched: set[UUID] = field(default_factory=set)
    """Jobs whose end is kept; the pod is told of many at once that it may forget them."""
    styles: frozenset[str] = frozenset()
    """`mode/style` of what it can draw now."""
    last_well: float = field(default_factory=time.monotonic)
    _misses: int = 0
    looked_at: asyncio.Event = field(default_factory=asyncio.Event)
    """Its health was asked for at least once."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def suspect(self) -> None:
        """A job had trouble with it: look now."""
        self._wake.set()

    def lost(self, now: float) -> bool:
        """Whether it has been out of service for too long to keep its jobs."""
        return not self.in_service and now - self.last_well >= LOST_AFTER_S

    def style(self, mode: str, style: str) -> StyleHealth | None:
        return self.health.styles.get(mode, {}).get(style) if self.health else None

    async def watch(self) -> None:
        """Poll its health until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                found = await self._look()
                self.looked_at.set()
                if found:
                    jobs, self.abandoned = self.abandoned, set()
                    for job in jobs:
                        tasks.create_task(self.stop(job))
                    tasks.create_task(self._acknowledge())
                well = self.in_service and not self._misses
                await self._pause(POLL_S if well else SUSPECT_POLL_S)

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(SUSPECT_POLL_S / 5)  # many jobs may suspect it at once

    async def _look(self) -> bool:
        """Whether it answered."""
        before = (self.in_service, self.styles, self.health and self.health.loaded_model)
        try:
            self.health = await self.client.health(HEALTH_TIMEOUT_S)
        except (EaselError, ValueError) as error:
            answered = False
            self._misses += 1
            if self._misses >= MISSES_UNTIL_OUT:
                other_version = "It answers as another version of Easel does"
                self._set(False, error.detail if isinstance(error, EaselError) else other_version)
        else:
            answered = True
            self._misses = 0
            self.styles = _drawable(self.health)
            wrong = [state for state in self.health.checks.values() if state != "ok"]
            self._set(self.health.gpu_available, "; ".join(wrong))
            if self.in_service:
                self.last_well = time.monotonic()
        after = (self.in_service, self.styles, self.health and self.health.loaded_model)
        if before != after:
            self.changed(self)
        return answered

    def _set(self, in_service: bool, reason: str) -> None:
        if self.in_service and not in_service:
            log.warning("pod_out", pod=self.name, reason=reason)
        elif in_service and not self.in_service:
            log.info("pod_in", pod=self.name, engine=self.health and self.health.engine)
        self.in_service, self.reason = in_service, reason

    async def clear(self, job: UUID) -> None:
        """Have the pod forget an earlier job under this id, before it is asked for a new one."""
        self.abandoned.discard(job)
        if job in self.fetched:
            self.fetched.discard(job)
            await self.stop(job)

    async def _acknowledge(self) -> None:
        """What the pod does not hear of it forgets by itself after a while."""
        while self.fetched:
            some = list(islice(self.fetched, FORGOTTEN_AT_ONCE))
            self.fetched.difference_update(some)
            with suppress(EaselError):
                await self.client.forget(some)

    async def stop(self, job: UUID) -> None:
        """Stop a job that is not wanted here, and have the pod forget it; when it does not answer,
        as soon as it does."""
        try:
            ended = await self.client.delete(job)
            if ended.outcome in ("cancelled", "already_ended"):
                await self.client.delete(job)
        except NotFound:
            return
        except EaselError:
            self.abandoned.add(job)


def _drawable(health: Health) -> frozenset[str]:
    return frozenset(
        f"{mode}/{name}"
        for mode, styles in health.styles.items()
        for name, style in styles.items()
        if style.available
    )
