"""The pods: what each can draw now, told by its own health, and what becomes of it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from gpu_server.client import GpuClient
from gpu_server.schemas import Health, StyleHealth
from web.errors import EaselError, NotFound

log = structlog.get_logger()

POLL_S = 2.0
SUSPECT_POLL_S = 0.5
HEALTH_TIMEOUT_S = 4.0
MISSES_UNTIL_OUT = 2
"""With the time-out and the pause: a pod that is gone or frozen is out within 10 s."""


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
    """Jobs that were moved away while the pod was out; to be stopped when it is back."""
    _misses: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    out_since: float = field(default_factory=time.monotonic)

    def suspect(self) -> None:
        """A job had trouble with it: look now."""
        self._wake.set()

    def styles(self) -> frozenset[str]:
        """`mode/style` of what it can draw now."""
        if self.health is None:
            return frozenset()
        return frozenset(
            f"{mode}/{name}"
            for mode, styles in self.health.styles.items()
            for name, style in styles.items()
            if style.available
        )

    def style(self, mode: str, style: str) -> StyleHealth | None:
        return self.health.styles.get(mode, {}).get(style) if self.health else None

    async def watch(self) -> None:
        """Poll its health until cancelled."""
        while True:
            await self._look()
            well = self.in_service and not self._misses
            self._wake.clear()
            try:
                async with asyncio.timeout(POLL_S if well else SUSPECT_POLL_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        before = (self.in_service, self.styles(), self.health and self.health.loaded_model)
        try:
            self.health = await self.client.health(HEALTH_TIMEOUT_S)
        except (EaselError, ValueError) as error:
            self._misses += 1
            if self._misses >= MISSES_UNTIL_OUT:
                self._set(False, f"no answer: {error}")
        else:
            self._misses = 0
            wrong = [state for state in self.health.checks.values() if state != "ok"]
            self._set(self.health.gpu_available, "; ".join(wrong))
            if self.in_service:
                await self._stop_abandoned()
        after = (self.in_service, self.styles(), self.health and self.health.loaded_model)
        if before != after:
            self.changed(self)

    def _set(self, in_service: bool, reason: str) -> None:
        if self.in_service and not in_service:
            self.out_since = time.monotonic()
            log.warning("pod_out", pod=self.name, reason=reason)
        elif in_service and not self.in_service:
            log.info("pod_in", pod=self.name, engine=self.health and self.health.engine)
        self.in_service, self.reason = in_service, reason

    async def _stop_abandoned(self) -> None:
        while self.abandoned:
            job = self.abandoned.pop()
            try:
                await self.client.delete(job)
            except NotFound:
                continue
            except EaselError:
                self.abandoned.add(job)
                return
