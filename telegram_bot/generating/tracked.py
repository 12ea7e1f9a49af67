"""One generation on its way to the person, and what its message shows meanwhile."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog
from telegram.error import TelegramError

from backend.schemas import Generation
from telegram_bot.generating.eta import Eta
from telegram_bot.messages import presenter
from telegram_bot.messages.live_message import LiveMessage
from telegram_bot.messages.view import View
from telegram_bot.storage.deliveries import Deliveries, Delivery, State
from telegram_bot.storage.people import People, Person
from telegram_bot.texts import Languages, Texts
from web.errors import Cancelled, EaselError, Internal, NoGpu, Problem
from web.following import ReadOnly

BACKEND_TIMEOUT_S = 1800.0
"""How long to keep a request while the backend does not answer."""

_MIN_TIMEOUT_S = 60.0
"""How long a request older than that is still kept after a restart: the bot was away itself."""

_RETRY_S = 1.0
_LONG_OUTAGE_S = 60.0
_NO_GPU = 0
log = structlog.get_logger("telegram_bot.generating.tracked")


@dataclass(eq=False)
class TrackedGeneration:
    """The state of a generation; only its own methods change it, here and in its row.

    `resumed`: picked up again after a restart. `message` keeps the row's message columns itself.
    """

    _delivery: Delivery
    message: LiveMessage
    deliveries: Deliveries
    people: People
    languages: Languages
    resumed: bool = False
    clock: Callable[[], float] = time.monotonic

    delivery = ReadOnly[Delivery]()

    def __post_init__(self) -> None:
        self.id = self.delivery.generation
        self._eta = Eta(self.clock)
        self._shown_position: int | None = None
        self.cancelled = asyncio.Event()
        self._answered_at = self.clock()
        if self.delivery.state is State.waiting:
            self._answered_at -= min(self.delivery.age_s, BACKEND_TIMEOUT_S - _MIN_TIMEOUT_S)
        elif self.delivery.state is State.cancelling:
            self.cancelled.set()

    @property
    def person(self) -> Person:
        return self.people.get(self.delivery.user_id)

    @property
    def texts(self) -> Texts:
        return self.languages.of(self.person.language)

    @property
    def prompt(self) -> str:
        return str(self.delivery.request.values.get("prompt", ""))

    def cancel(self) -> bool:
        """Mark it as cancelled, also for the time after a restart; False if it was already."""
        if self.cancelled.is_set():
            return False
        self.cancelled.set()
        self.set_state(State.cancelling)
        self.message.show(View(self.texts.html("job.cancelling")))
        return True

    def deliver(self, file_id: str | None) -> None:
        """Note that its picture is in its message, as Telegram's `file_id` if it is a photo."""
        self._delivery = replace(self.delivery, state=State.delivered)
        self.deliveries.set_delivered(self.id, file_id)

    def set_state(self, state: State) -> None:
        self._delivery = replace(self.delivery, state=state)
        self.deliveries.set_state(self.id, state)

    def backend_answered(self) -> None:
        self._answered_at = self.clock()

    def away_s(self) -> float:
        """Return the seconds since the backend answered, or since a request it never had."""
        return self.clock() - self._answered_at

    def raise_if_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled

    async def wait_to_retry(self, error: EaselError | TelegramError) -> None:
        """Pause before another try, and show the person what `error` means for them.

        Raises:
            Cancelled: The person has cancelled it.
            EaselError: The backend has been away for longer than its timeout.
        """
        self.raise_if_cancelled()
        away_s = self.away_s()
        if away_s > BACKEND_TIMEOUT_S:
            raise Internal() if isinstance(error, TelegramError) else error
        if isinstance(error, NoGpu):
            self._show_outage(presenter.no_gpu(self.texts, self.id))
        elif away_s > _RETRY_S and not isinstance(error, TelegramError):
            minutes = max(1, round((BACKEND_TIMEOUT_S - away_s) / 60))
            self._show_outage(presenter.no_backend(self.texts, self.id, minutes))
        with suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_S if away_s < _LONG_OUTAGE_S else 5 * _RETRY_S):
                await self.cancelled.wait()
        self.raise_if_cancelled()

    def _show_outage(self, view: View) -> None:
        self.message.show(view)
        self._shown_position = None

    def show_waiting(self, key: str = "job.sending") -> None:
        """Show that the backend has not answered yet; after a restart the old view stays."""
        if not self.resumed:
            self.message.show(presenter.waiting(self.texts, self.id, key))

    def show_event(self, event: object, state: Generation) -> None:
        """Show an event of the backend's stream; `state` is the last one received."""
        self.show(event if isinstance(event, Generation) else self._eta.apply(event, state))

    def show(self, generation: Generation) -> None:
        """Show it in the queue or being drawn; in the queue only when the position changes."""
        if generation.status.ended or self.cancelled.is_set():
            return
        self._eta.update(generation)
        if generation.status != "queued":
            view = presenter.progress(
                self.texts, generation, self._eta.remaining_s(), resumed=self.resumed
            )
            self.message.show(replace(view, media=self._eta.preview))
            return
        position = presenter.shown_position(generation.position)
        if generation.estimated_seconds is None and position is not None:
            position = _NO_GPU
        if position is not None and position == self._shown_position:
            return
        self._shown_position = position
        if position == _NO_GPU:
            view = presenter.no_gpu(self.texts, self.id)
        else:
            view = presenter.progress(self.texts, generation, None, resumed=self.resumed)
        self.message.show(view)

    def final_view(self, generation: Generation) -> tuple[State, View]:
        """Return the state and view of a generation that ended without a picture."""
        if generation.status == "cancelled":
            freed = generation.timings.gpu_ms > 0 or self._eta.started_at is not None
            return State.cancelled, self.cancelled_view(freed=freed)
        problem = generation.error or Internal().problem()
        return State.failed, self._failed(problem, generation.prompt or self.prompt)

    def cancelled_view(self, *, freed: bool) -> View:
        return presenter.cancelled(self.texts, self.id, self.prompt, freed=freed)

    def failed_view(self, error: EaselError) -> View:
        return self._failed(error.problem(), self.prompt, error.retry_after)

    def _failed(self, problem: Problem, prompt: str, wait_s: float | None = None) -> View:
        code = presenter.code_of(self.id)
        log.info("generation_failed", generation_id=str(self.id), error=problem.code, code=code)
        return presenter.failed(self.texts, self.id, problem, prompt, wait_s)
