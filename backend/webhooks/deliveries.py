"""Deliver the ends of generations: each until its receiver takes it, for about a day.

Runs in the process that schedules. What is owed is committed with the end of a generation and
deleted after its delivery: a process that is killed in between tells it again, under the same id.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import sqlalchemy as sa
import structlog

from backend.metrics import Metrics
from backend.storage.database import DatabaseAway
from backend.storage.deliveries import Delivery
from backend.storage.generations import GenerationRow, GenerationStore
from backend.webhooks import signing
from backend.webhooks.sender import Sender, Verdict

log = structlog.get_logger()

PAUSES_S = (5, 30, 120, 600, 1800, 3600, 7200, 10800, 14400, 21600, 25200)
"""How long to wait after each failed attempt, 24 hours in all; after the last it is given up."""
_JITTER = 0.1
"""By what part a pause may be shorter or longer, so that receivers are not called all at once."""
_MAX_RETRY_AFTER_S = 6 * 3600.0
_AT_ONCE, _PER_HOST = 64, 8
_DATABASE_PAUSE_S = 5.0
_LOOK_S = 600.0
"""Longest pause between two looks at what is owed, as the system's time may be set."""


@dataclass(kw_only=True, eq=False)
class Deliveries:
    """Takes what is due, at most `_PER_HOST` to a receiver: a slow one holds up no other.

    `body` renders the event of a generation; `operator_url` is told of generations that name no
    webhook.
    """

    rows: GenerationStore
    sender: Sender
    keys: Sequence[bytes]
    body: Callable[[GenerationRow], bytes]
    metrics: Metrics
    operator_url: str = ""
    pauses_s: Sequence[float] = PAUSES_S
    _hosts: dict[str, str] = field(default_factory=dict, init=False)
    """Deliveries whose outcome is not committed yet: id → host."""
    _attempted: dict[str, float | None] = field(default_factory=dict, init=False)
    """Outcomes to commit: id → when to try again, None for never."""

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self.rows.owed.clear()
                try:
                    await self._record()
                    pause_s = await self._start(tasks)
                except (DatabaseAway, sa.exc.SQLAlchemyError) as error:
                    log.warning("deliveries_delayed", error=type(error).__name__)
                    await asyncio.sleep(_DATABASE_PAUSE_S)
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self.rows.owed.wait()

    async def _record(self) -> None:
        """Commit what came of attempts, all at once."""
        attempted = dict(self._attempted)
        if attempted:
            await self.rows.deliveries.record(attempted)
        for delivery_id in attempted:
            del self._attempted[delivery_id], self._hosts[delivery_id]

    async def _start(self, tasks: asyncio.TaskGroup) -> float | None:
        """Start what is due. Return how long nothing else can be started; None: until an end."""
        busy = Counter(self._hosts.values())
        room = _AT_ONCE - len(self._hosts)
        found, pending = await self.rows.deliveries.soonest(
            max(room, 0) + 1,
            without=list(self._hosts),
            hosts_without=[host for host, number in busy.items() if number >= _PER_HOST],
        )
        self.metrics.webhooks_pending.set(pending)
        for delivery in found:
            pause_s = delivery.due - time.time()
            if pause_s > 0:
                return min(pause_s, _LOOK_S)
            if len(self._hosts) >= _AT_ONCE:
                return None
            if busy[delivery.host] >= _PER_HOST:
                return 0.0  # there may be others behind it, which the next look finds
            busy[delivery.host] += 1
            self._hosts[delivery.id] = delivery.host
            tasks.create_task(self._deliver(delivery))
        return None

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            verdict = await self._attempt(delivery)
        except Exception as error:  # the outermost edge of a delivery: others go on
            log.exception("webhook_broke", error=type(error).__name__)
            verdict = Verdict("failed", type(error).__name__)
        self._attempted[delivery.id] = self._next_try(delivery, verdict)
        self.rows.owed.set()

    async def _attempt(self, delivery: Delivery) -> Verdict:
        row = delivery.row
        if row is None:
            return Verdict("gone", "the generation was deleted")
        url = row.request.webhook.url if row.request.webhook else self.operator_url
        if not url:
            return Verdict("gone", "BACKEND_WEBHOOK_URL is empty now")
        body = self.body(row)
        headers = signing.headers(self.keys, delivery.message_id, int(time.time()), body)
        return await self.sender.post(url, body, headers)

    def _next_try(self, delivery: Delivery, verdict: Verdict) -> float | None:
        """Count and log an attempt. Return when to try again, None for never."""
        outcome, pause_s = verdict.outcome, 0.0
        if outcome == "failed" and delivery.tries < len(self.pauses_s):
            jitter = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
            pause_s = self.pauses_s[delivery.tries] * jitter
            pause_s = max(pause_s, min(verdict.retry_after_s, _MAX_RETRY_AFTER_S))
        is_last = pause_s == 0
        name = "given_up" if outcome == "failed" and is_last else outcome
        self.metrics.webhooks.labels(name).inc()
        tell = log.info if outcome == "delivered" else log.error if is_last else log.warning
        tell(
            f"webhook_{name}",
            message_id=delivery.message_id,
            generation_id=delivery.generation,
            host=delivery.host or "BACKEND_WEBHOOK_URL",
            tries=delivery.tries + 1,
            **({"reason": verdict.reason} if verdict.reason else {}),
            **({} if is_last else {"again_in_s": round(pause_s)}),
        )
        return None if is_last else time.time() + pause_s
