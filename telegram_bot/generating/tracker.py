"""Sees every owed generation through, from the wish to the delivered picture.

Whatever dies on the way - this process, the backend - the row in `deliveries` stays, every call
can be repeated under the generation's id, and the same message goes on.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import structlog
from telegram.error import Forbidden, TelegramError

from backend.client import BackendClient, BackendUnreachable
from backend.schemas import Generation
from telegram_bot.catalogue import Catalogue
from telegram_bot.generating.delivery import Handover
from telegram_bot.generating.gateway import Traffic
from telegram_bot.generating.tracked import PATIENCE_S, Course
from telegram_bot.messages import presenter
from telegram_bot.messages.editor import Editor
from telegram_bot.messages.live_message import LiveMessage, Spot
from telegram_bot.messages.view import View
from telegram_bot.storage.deliveries import DAY_S, Deliveries, Delivery, State
from telegram_bot.storage.people import People
from telegram_bot.texts import Texts
from web.errors import Cancelled, EaselError, Internal, NoGpu, NotFound

T = TypeVar("T")
_RETRY_S = 1.0
_LONGEST_RETRY_S = 60.0
_QUIET_S = 0.4
_log = structlog.get_logger("telegram_bot.generating.tracker")


@dataclass
class Follower:
    """`events` is the backend over a pool wide enough for a stream per generation."""

    backend: BackendClient
    events: BackendClient
    deliveries: Deliveries
    people: People
    catalogue: Catalogue
    editor: Editor
    texts: Texts

    def __post_init__(self) -> None:
        self._courses: dict[UUID, Course] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._traffic = Traffic(self.editor.bot, self.backend, self.events)
        self._handover = Handover(
            self.backend, self.deliveries, self.catalogue, self.editor, self._patiently
        )

    async def run(self) -> None:
        """Takes up everything owed and works until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for delivery in self.deliveries.owed():
                self.follow(delivery, resumed=True)
            await asyncio.Event().wait()

    @property
    def count(self) -> int:
        return len(self._courses)

    def follow(self, delivery: Delivery, *, resumed: bool = False) -> None:
        """See it through, in the background. Before `run` it only stays written down."""
        if self._tasks is None or delivery.generation in self._courses:
            return
        if delivery.state is State.revoking:
            self.spawn(self._revoke(delivery.generation))
            return
        spot = Spot(
            delivery.chat_id,
            delivery.message_id,
            delivery.reply_to,
            delivery.unsure,
            delivery.holds_media,
        )
        generation, chat_id = delivery.generation, delivery.chat_id
        language = self.texts.language(self.people.get(delivery.user_id).language)
        live = LiveMessage(
            self.editor,
            spot,
            lambda spot: self._record(generation, spot),
            presenter.cancel_row(language, generation),
            lambda message_id: self.deliveries.is_taken(chat_id, message_id),
        )
        course = Course(delivery, live, self.people, self.texts, resumed)
        self._courses[delivery.generation] = course
        self._tasks.create_task(self._see_through(course))

    def cancel(self, generation: UUID) -> bool:
        """Stop it; False when it is not on its way any more. A restart does not forget it."""
        course = self._courses.get(generation)
        if course is None or course.live.ending:
            return False
        if not course.cancelled.is_set():
            course.cancelled.set()
            self.deliveries.move(generation, State.cancelling)
            self.spawn(self._stop(course))
        return True

    def adopt(self, generation: UUID, message_id: int) -> None:
        """A button of a message of ours was pressed: so it did arrive."""
        if course := self._courses.get(generation):
            course.live.adopt(message_id)

    def spawn(self, work: Awaitable[None], then: Callable[[], None] | None = None) -> None:
        """Other work in the background, owned here; `then` follows unless it is cancelled."""
        if self._tasks is None:
            raise RuntimeError("the follower does not run")
        self._tasks.create_task(_guarded(work, then))

    # One generation

    async def _see_through(self, course: Course) -> None:
        showing = asyncio.create_task(course.live.run())
        blocked = asyncio.create_task(self._when_blocked(course))
        try:
            await self._to_its_end(course)
        except Forbidden:
            self._end(course, State.revoking if course.cancelled.is_set() else State.failed)
            if course.delivery.chat_id == course.delivery.user_id:
                self.people.set_blocked(course.delivery.user_id, True)
            _log.info("blocked_by_user", generation_id=str(course.id))
        except TelegramError as error:
            self._end(course, State.failed)
            _log.warning("not_deliverable", generation_id=str(course.id), reason=error.message)
        finally:
            self._courses.pop(course.id, None)
            for task in (showing, blocked):
                task.cancel()
            await asyncio.gather(showing, blocked, return_exceptions=True)

    async def _to_its_end(self, course: Course) -> None:
        try:
            generation = await self._accepted(course)
            generation = await self._watched(course, generation)
            if generation.status == "succeeded":
                await self._handover.deliver(course, generation)
                return
            state, view = course.ending(generation)
        except Cancelled:
            state, view = State.revoking, course.cancelled_view(freed=False)
        except BackendUnreachable as error:
            state, view = State.revoking, course.failed_view(error)
        except EaselError as error:
            state, view = State.failed, course.failed_view(error)
        except TelegramError:
            raise
        except Exception:  # the edge of one generation: no other may suffer from it
            code = presenter.code_of(course.id)
            _log.exception("generation_broke", generation_id=str(course.id), code=code)
            state, view = State.failed, course.failed_view(Internal())
        await course.live.finish(view)
        self._end(course, state)

    def _end(self, course: Course, state: State) -> None:
        self.deliveries.move(course.id, state)
        if state is State.revoking:
            self.spawn(self._revoke(course.id))

    async def _accepted(self, course: Course) -> Generation:
        """The backend has it. Raises Cancelled, or what the backend refuses it with."""
        if course.delivery.photo and not course.resumed:
            course.live.show(presenter.waiting(course.say, course.id, "job.fetching"))
        quiet = asyncio.get_running_loop().call_later(_QUIET_S, self._show_waiting, course)
        try:
            generation = await self._patiently(course, lambda: self._traffic.put(course))
        finally:
            quiet.cancel()
        if self._state(course) is State.waiting:
            self.deliveries.move(course.id, State.accepted)
        course.show(generation)
        return generation

    def _show_waiting(self, course: Course) -> None:
        if not course.resumed:
            course.live.show(presenter.waiting(course.say, course.id))

    async def _watched(self, course: Course, generation: Generation) -> Generation:
        """The generation at its end. Raises Cancelled when stopped while nobody answers."""
        while not generation.status.ended:
            try:
                async with self._traffic.follow(course) as events:
                    async for event in events:
                        if isinstance(event, Generation):
                            generation = event
                        if generation.status.ended:
                            break
                        course.show_event(generation, event)
            except NotFound:
                if self._state(course) is None:  # the person had everything deleted
                    raise Cancelled from None
                generation = await self._patiently(course, lambda: self._traffic.put(course))
            except (BackendUnreachable, Internal, NoGpu) as error:
                await self._pause(course, error)
        return generation

    async def _patiently(self, course: Course, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks until there is an answer, for as long as promised; raises EaselErrors only."""
        while True:
            try:
                answer = await ask()
            except (BackendUnreachable, NoGpu, TelegramError) as error:
                await self._pause(course, error)
            else:
                course.backend_is_there()
                return answer

    async def _pause(self, course: Course, error: EaselError | TelegramError) -> None:
        """Between two tries. Raises Cancelled, and the error itself when patience is over."""
        if course.cancelled.is_set():
            raise Cancelled
        waited_s = course.away_s()
        if waited_s > PATIENCE_S:
            raise Internal() if isinstance(error, TelegramError) else error
        if isinstance(error, NoGpu):
            course.show_no_gpu()
        elif waited_s > _RETRY_S and not isinstance(error, TelegramError):
            course.show_no_backend()
        with suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_S if waited_s < 60 else 5 * _RETRY_S):
                await course.cancelled.wait()
        if course.cancelled.is_set():
            raise Cancelled

    # Stopping

    async def _stop(self, course: Course) -> None:
        """Cancel it at the backend - but never delete what has just been finished."""
        course.live.show(View(course.say.html("job.cancelling")))
        while course.id in self._courses:
            try:
                if not (await self.backend.get(course.id)).status.ended:
                    await self.backend.delete(course.id)
            except EaselError:  # not there yet, or the backend is away: it has to be told later
                await asyncio.sleep(_RETRY_S / 4)
            else:
                return

    async def _revoke(self, generation: UUID) -> None:
        """Tell the backend, as soon as it is back, that nobody waits for this any more."""
        until, pause = time.monotonic() + DAY_S, _RETRY_S
        while time.monotonic() < until:
            try:
                if (await self.backend.get(generation)).status not in ("failed", "cancelled"):
                    await self.backend.delete(generation)
            except NotFound:
                break
            except EaselError:
                await asyncio.sleep(pause)
                pause = min(_LONGEST_RETRY_S, pause * 1.5)
                continue
            break
        self.deliveries.move(generation, State.cancelled)

    async def _when_blocked(self, course: Course) -> None:
        """Nobody will see it: the GPU is for others."""
        await course.live.blocked.wait()
        self.cancel(course.id)

    # What is known

    def _record(self, generation: UUID, spot: Spot) -> None:
        self.deliveries.place(
            generation, spot.chat_id, spot.message_id, spot.unsure, spot.holds_media
        )

    def _state(self, course: Course) -> State | None:
        delivery = self.deliveries.get(course.id)
        return delivery.state if delivery else None


async def _guarded(work: Awaitable[None], then: Callable[[], None] | None) -> None:
    try:
        await work
    except (EaselError, TelegramError) as error:
        _log.warning("background_work_failed", reason=str(error))
    except Exception:  # the edge of one piece of work: the others go on
        _log.exception("background_work_broke")
    if then is not None:
        then()
