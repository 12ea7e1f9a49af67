"""One generation on its way, and how it looks to the person meanwhile."""

import asyncio
import time
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from backend.schemas import Generation
from telegram_bot import presenter
from telegram_bot.deliveries import Delivery, State
from telegram_bot.estimate import Estimate
from telegram_bot.live_message import LiveMessage
from telegram_bot.people import People, Person
from telegram_bot.texts import Language, Texts
from telegram_bot.view import View
from web.errors import EaselError, Internal

PATIENCE_S = 1800.0
"""How long a request is kept while nobody can draw it."""

_NO_GPU = 0
_log = structlog.get_logger("telegram_bot.course")


@dataclass
class Course:
    """`resumed`: after a restart; `seen_at`: monotonic seconds of the last sign of life."""

    delivery: Delivery
    live: LiveMessage
    people: People
    texts: Texts
    resumed: bool
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    estimate: Estimate = field(default_factory=Estimate)
    seen_at: float = field(default_factory=time.monotonic)
    _shown_place: int | None = None

    @property
    def id(self) -> UUID:
        return self.delivery.generation

    @property
    def person(self) -> Person:
        return self.people.get(self.delivery.user_id)

    @property
    def say(self) -> Language:
        return self.texts.language(self.person.language)

    @property
    def prompt(self) -> str:
        return str(self.delivery.request.get("prompt", ""))

    def show_event(self, generation: Generation, event: object) -> None:
        """An event of the backend's stream; `generation` is the state known last."""
        if isinstance(event, Generation):
            self.show(event)
            return
        self.estimate.note(event, generation)
        self.show(self.estimate.generation(generation))

    def show(self, generation: Generation) -> None:
        """In line or being drawn; edited in line only when the place changes."""
        if generation.status.ended or self.cancelled.is_set():
            return
        self.estimate.see(generation)
        if generation.status != "queued":
            view = presenter.progress(
                self.say, generation, self.estimate.left_s(), resumed=self.resumed
            )
            self.live.show(View(view.text, view.keyboard, self.estimate.preview))
            return
        place = presenter.place_in_line(generation.position)
        if generation.estimated_seconds is None and place is not None:
            place = _NO_GPU
        if place is not None and place == self._shown_place:
            return
        self._shown_place = place
        if place == _NO_GPU:
            view = presenter.offline(self.say, self.id, _minutes(self.delivery.age_s), gpu=True)
        else:
            view = presenter.progress(self.say, generation, None, resumed=self.resumed)
        self.live.show(view)

    def show_offline(self, waited_s: float, *, gpu: bool) -> None:
        """Nobody answers, or (`gpu`) nobody can draw."""
        self.live.show(presenter.offline(self.say, self.id, _minutes(waited_s), gpu=gpu))
        self._shown_place = None

    def ending(self, generation: Generation) -> tuple[State, View]:
        """How it ends without a picture."""
        if generation.status == "cancelled":
            freed = generation.timings.gpu_ms > 0 or self.estimate.running
            return State.cancelled, self.cancelled_view(freed=freed)
        problem = generation.error or Internal().problem()
        self._log_failure(problem.code)
        prompt = generation.prompt or self.prompt
        return State.failed, presenter.failed(self.say, self.id, problem, prompt)

    def cancelled_view(self, *, freed: bool) -> View:
        return presenter.cancelled(self.say, self.id, self.prompt, freed=freed)

    def failed_view(self, error: EaselError) -> View:
        self._log_failure(error.code)
        return presenter.failed(self.say, self.id, error.problem(), self.prompt)

    def _log_failure(self, error: str) -> None:
        code = presenter.code_of(self.id)
        _log.info("generation_failed", generation_id=str(self.id), error=error, code=code)


def _minutes(waited_s: float) -> int:
    """How long the request is still kept."""
    return max(1, round((PATIENCE_S - waited_s) / 60))
