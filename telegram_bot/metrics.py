"""What Prometheus and `/readyz` are told of the bot; no person or generation is ever a label."""

import time
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
)

from telegram_bot.storage.database import Database
from telegram_bot.storage.deliveries import Deliveries

_SILENCE_S = 60.0
"""A poll lasts about 10 s; after this long without an answer the bot counts as deaf."""

_CONFLICT = "another process polls with this bot's token; end it, or take the token from it"


class Contact:
    """When Telegram last gave the bot its updates, and why it does not."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._made_at = 0.0
        self._conflict_at = 0.0
        self._reason = "no answer yet"

    @property
    def made_at(self) -> float:
        """The Unix time of the last contact; 0 if there was none."""
        return self._made_at

    def made(self) -> None:
        self._made_at = self._clock()

    def failed(self, reason: str) -> None:
        self._reason = reason

    def conflicted(self) -> None:
        """Note that another process takes this bot's updates, if only some of them."""
        self._conflict_at = self._clock()

    def problem(self) -> str | None:
        """Return why people are not heard; None if they are."""
        now = self._clock()
        if now - self._conflict_at < _SILENCE_S:
            return _CONFLICT
        if not self._made_at:
            return f"Telegram has not been reached since the start: {self._reason}"
        if now - self._made_at > _SILENCE_S:
            return f"nothing from Telegram for {now - self._made_at:.0f} s: {self._reason}"
        return None


class Metrics:
    def __init__(self, database: Database, deliveries: Deliveries) -> None:
        # Without a second series for each counter, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.contact = Contact()
        self._database = database
        self._errors = Counter(
            "easel_bot_telegram_errors",
            "Calls of the Bot API that failed, by HTTP status, or `timeout` or `network`",
            ["method", "code"],
            registry=self.registry,
        )
        self._skipped = Counter(
            "easel_bot_updates_skipped",
            "Updates that were not handled: unreadable, or too many of one person",
            ["reason"],
            registry=self.registry,
        )
        for reason in ("unreadable", "too_many"):
            self._skipped.labels(reason)
        self._gauge(
            "easel_bot_last_contact_timestamp_seconds",
            "When Telegram last answered getUpdates, or confirmed the webhook",
            lambda: self.contact.made_at,
        )
        self._gauge(
            "easel_bot_deliveries_owed",
            "Accepted requests whose picture, or failure, was not shown yet",
            deliveries.count_pending,
        )
        self._gauge(
            "easel_bot_database_writable",
            "Whether the last write to the bot's database succeeded",
            lambda: database.fault is None,
        )

    def _gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(name, text, registry=self.registry).set_function(value)

    def failed(self, method: str, code: str) -> None:
        self._errors.labels(method, code).inc()

    def skipped(self, reason: str) -> None:
        self._skipped.labels(reason).inc()

    def checks(self) -> dict[str, str]:
        """Return `ok`, or what is wrong, for each thing the bot needs to answer people."""
        faults = {"telegram": self.contact.problem(), "database": self._database.fault}
        return {name: fault or "ok" for name, fault in faults.items()}
