"""Button presses that wait for the bot's answer."""

import asyncio
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from telegram_bot.local.errors import QUERY_TOO_OLD, BadRequest

_MAX_WAITING = 1000


@dataclass(frozen=True)
class Answer:
    """What the person sees: a toast or, with `show_alert`, a dialog to close; a URL to open."""

    text: str
    show_alert: bool
    url: str


@dataclass
class Press:
    query_id: str
    pressed_at: float
    answered: asyncio.Future[Answer] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Callbacks:
    """Presses by query id; each can be answered once, within `lifetime_s`."""

    def __init__(self, lifetime_s: float) -> None:
        self._lifetime_s = lifetime_s
        self._waiting: OrderedDict[str, Press] = OrderedDict()

    def open(self) -> Press:
        press = Press(str(secrets.randbits(62)), time.monotonic())
        self._waiting[press.query_id] = press
        while len(self._waiting) > _MAX_WAITING:
            self._waiting.popitem(last=False)
        return press

    def answer(self, query_id: str, answer: Answer) -> None:
        """Hand the answer to the person; raise `BadRequest` ("query is too old…") if too late."""
        press = self._waiting.pop(query_id, None)
        if press is None or time.monotonic() - press.pressed_at > self._lifetime_s:
            raise BadRequest(QUERY_TOO_OLD)
        if not press.answered.done():
            press.answered.set_result(answer)

    def expire(self, query_id: str) -> None:
        self._waiting.pop(query_id, None)
