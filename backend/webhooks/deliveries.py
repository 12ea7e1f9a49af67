"""Deliver the ends of generations: each until its receiver takes it, for about a day.

Runs in the process that schedules. What is owed is committed with the end of a generation and
deleted after its delivery: a process that is killed in between tells it again, under the same id.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

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
_GATHER_S = 0.05
"""How long ends and outcomes gather, so that one look and one commit are for many."""
_LEVELS = {
    "delivered": logging.INFO,
    "failed": logging.WARNING,
    "given_up": logging.ERROR,
    "gone": logging.WARNING,
}
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
                    pause_s = await self._turn(tasks)
                except (DatabaseAway, sa.exc.SQLAlchemyError) as error:
                    log.warning("deliveries_delayed", error=type(error).__name__)
                    await asyncio.sleep(_DATABASE_PAUSE_S)
                    continue
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self.rows.owed.wait()
                await asyncio.sleep(_GATHER_S)

    async def _turn(self, tasks: asyncio.TaskGroup) -> float | None:
        """Commit outcomes and start what is due. Return how long to wait; None: until an end."""
        now, attempted = time.time(), dict(self._attempted)
        under_way = {id_: host for id_, host in self._hosts.items() if id_ not in attempted}
        busy = Counter(under_way.values())
        turn = await self.rows.deliveries.turn(
            attempted,
            now=now,
            limit=_AT_ONCE - len(under_way),
            without=under_way,
            hosts_without=[host for host, number in busy.items() if number >= _PER_HOST],
        )
        for delivery_id in attempted:
            del self._attempted[delivery_id], self._hosts[delivery_id]
        self.metrics.webhooks_pending.set(turn.pending)
        for delivery in turn.due:
            if busy[delivery.host] >= _PER_HOST:
                return 0.0  # there may be other hosts behind it, which the next look finds
            busy[delivery.host] += 1
            self._hosts[delivery.id] = delivery.host
            tasks.create_task(self._deliver(delivery))
        return None if turn.next_due is None else min(max(turn.next_due - now, 0.0), _LOOK_S)

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
        outcome: str = verdict.outcome
        pause_s = self._pause_s(delivery.tries, verdict) if outcome == "failed" else None
        if outcome == "failed" and pause_s is None:
            outcome = "given_up"
        self.metrics.webhooks.labels(outcome).inc()
        about: dict[str, Any] = {"reason": verdict.reason} if verdict.reason else {}
        if pause_s is not None:
            about["again_in_s"] = round(pause_s)
        log.log(
            _LEVELS[outcome],
            f"webhook_{outcome}",
            message_id=delivery.message_id,
            generation_id=delivery.generation,
            host=delivery.host or "BACKEND_WEBHOOK_URL",
            tries=delivery.tries + 1,
            **about,
        )
        return None if pause_s is None else time.time() + pause_s

    def _pause_s(self, tries: int, verdict: Verdict) -> float | None:
        """Return how long to wait after a failure that `tries` others precede; None: give up."""
        if tries >= len(self.pauses_s):
            return None
        spread = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311
        wanted_s = min(verdict.retry_after_s, _MAX_RETRY_AFTER_S)
        return max(self.pauses_s[tries] * spread, wanted_s * (spread + _JITTER))
