"""One generation on its way, and how it looks to the person meanwhile."""

import asyncio
import time
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from backend.schemas import Generation
from telegram_bot.generating.eta import Estimate
from telegram_bot.messages import presenter
from telegram_bot.messages.live_message import LiveMessage
from telegram_bot.messages.view import View
from telegram_bot.storage.deliveries import Delivery, State
from telegram_bot.storage.people import People, Person
from telegram_bot.texts import Language, Texts
from web.errors import EaselError, Internal

PATIENCE_S = 1800.0
"""How long a request is kept while the backend is away."""

_LEAST_PATIENCE_S = 60.0
_NO_GPU = 0
_log = structlog.get_logger("telegram_bot.generating.tracked")


@dataclass
class Course:
    """`resumed`: after a restart; `seen_at`: monotonic seconds of the backend's last sign of life.

    While the backend has never had the request, that is when it was made.
    """

    delivery: Delivery
    live: LiveMessage
    people: People
    texts: Texts
    resumed: bool
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    estimate: Estimate = field(default_factory=Estimate)
    seen_at: float = field(default_factory=time.monotonic)
    _shown_place: int | None = None

    def __post_init__(self) -> None:
        if self.delivery.state is State.waiting:
            self.seen_at -= min(self.delivery.age_s, PATIENCE_S - _LEAST_PATIENCE_S)
        if self.delivery.state is State.cancelling:
            self.cancelled.set()

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
            view = presenter.no_gpu(self.say, self.id)
        else:
            view = presenter.progress(self.say, generation, None, resumed=self.resumed)
        self.live.show(view)

    def backend_is_there(self) -> None:
        """It has just answered."""
        self.seen_at = time.monotonic()

    def away_s(self) -> float:
        """For how long the backend has not answered, or the request has waited."""
        return time.monotonic() - self.seen_at

    def show_no_backend(self) -> None:
        """Nobody answers; the request is kept."""
        minutes = max(1, round((PATIENCE_S - self.away_s()) / 60))
        self.live.show(presenter.no_backend(self.say, self.id, minutes))
        self._shown_place = None

    def show_no_gpu(self) -> None:
        """Nobody can draw; the request is kept."""
        self.live.show(presenter.no_gpu(self.say, self.id))
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
        problem, wait_s = error.problem(), error.retry_after
        return presenter.failed(self.say, self.id, problem, self.prompt, wait_s)

    def _log_failure(self, error: str) -> None:
        code = presenter.code_of(self.id)
        _log.info("generation_failed", generation_id=str(self.id), error=error, code=code)
