"""Follow every pending generation, from its request to the delivered picture.

Whatever dies on the way, this process or the backend: the row in `deliveries` stays, every call
can be repeated under the generation's id, and the same message goes on.
"""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from uuid import UUID

import structlog
from telegram.error import Forbidden, TelegramError

from backend.client import BackendClient, BackendUnreachable
from backend.schemas import Generation
from telegram_bot.catalogue import Catalogue
from telegram_bot.generating.delivery import PictureDelivery
from telegram_bot.generating.gateway import Gateway
from telegram_bot.generating.tracked import TrackedGeneration
from telegram_bot.messages import presenter
from telegram_bot.messages.editor import Editor
from telegram_bot.messages.live_message import LiveMessage
from telegram_bot.messages.refusals import forbids_writing
from telegram_bot.storage.deliveries import DAY_S, Deliveries, Delivery, State
from telegram_bot.storage.people import People
from telegram_bot.texts import Languages
from web.errors import Cancelled, EaselError, Internal, NoGpu, NotFound

_SHOW_WAITING_AFTER_S = 0.4
"""A backend that answers sooner needs no message that says the request is on its way."""

_STOP_RETRY_S = 0.25
_REVOKE_RETRY_S = 1.0
_MAX_RETRY_S = 60.0
_REVOKE_TIMEOUT_S = DAY_S
"""How long to try to tell the backend, which may be away, that nobody waits for a generation."""

log = structlog.get_logger("telegram_bot.generating.tracker")


@dataclass(kw_only=True, eq=False)
class Tracker:
    """The generations under way, each in a task; `events` has a connection for every stream."""

    backend: BackendClient
    events: BackendClient
    deliveries: Deliveries
    people: People
    catalogue: Catalogue
    editor: Editor
    languages: Languages

    def __post_init__(self) -> None:
        self._gateway = Gateway(self.editor.bot, self.backend, self.events)
        self._pictures = PictureDelivery(self._gateway, self.catalogue, self.editor)
        self.tracked: dict[UUID, TrackedGeneration] = {}
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Pick up every pending delivery, and work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for delivery in self.deliveries.pending():
                self.track(delivery, resumed=True)
            await asyncio.Event().wait()

    def track(self, delivery: Delivery, *, resumed: bool = False) -> None:
        """Follow a generation in the background; before `run` its row alone is enough."""
        if self._tasks is None or delivery.generation in self.tracked:
            return
        if delivery.state is State.revoking:
            self.spawn(self._revoke(delivery.generation))
            return
        language = self.languages.of(self.people.get(delivery.user_id).language)
        keyboard = presenter.cancel_row(language, delivery.generation)
        message = LiveMessage(delivery, self.editor, self.deliveries, keyboard)
        tracked = TrackedGeneration(
            delivery, message, self.deliveries, self.people, self.languages, resumed
        )
        self.tracked[delivery.generation] = tracked
        self._tasks.create_task(self._follow(tracked))

    def cancel(self, generation: UUID) -> bool:
        """Stop a generation, even across a restart; False if it has ended."""
        tracked = self.tracked.get(generation)
        if tracked is None or tracked.message.ending.is_set():
            return False
        if tracked.cancel():
            self.spawn(self._stop(tracked))
        return True

    def adopt(self, generation: UUID, message_id: int) -> None:
        """Note that the generation's message arrived: one of its buttons was pressed."""
        if tracked := self.tracked.get(generation):
            tracked.message.adopt(message_id)

    def spawn(self, work: Awaitable[None]) -> None:
        """Run other work in the background, owned here; its failure is logged."""
        if self._tasks is None:
            raise RuntimeError("the tracker does not run")
        self._tasks.create_task(guarded(work))

    async def _follow(self, tracked: TrackedGeneration) -> None:
        showing = asyncio.create_task(tracked.message.run())
        blocked = asyncio.create_task(self._cancel_when_blocked(tracked))
        try:
            await self._run_to_end(tracked)
        except TelegramError as error:
            stopped = forbids_writing(error) and tracked.cancelled.is_set()
            self._end(tracked, State.revoking if stopped else State.failed)
            in_private = tracked.delivery.chat_id == tracked.delivery.user_id
            if isinstance(error, Forbidden) and in_private:
                self.people.set_blocked(tracked.delivery.user_id, True)
            log.warning("delivery_failed", generation_id=str(tracked.id), reason=error.message)
        finally:
            self.tracked.pop(tracked.id, None)
            for task in (showing, blocked):
                task.cancel()
            await asyncio.gather(showing, blocked, return_exceptions=True)

    async def _run_to_end(self, tracked: TrackedGeneration) -> None:
        try:
            generation = await self._wait_accepted(tracked)
            generation = await self._wait_ended(tracked, generation)
            if generation.status == "succeeded":
                await self._pictures.deliver(tracked, generation)
                return
            state, view = tracked.final_view(generation)
        except Cancelled:
            state, view = State.revoking, tracked.cancelled_view(freed=False)
        except BackendUnreachable as error:
            state, view = State.revoking, tracked.failed_view(error)
        except EaselError as error:
            state, view = State.failed, tracked.failed_view(error)
        except TelegramError:
            raise
        except Exception:  # the edge of one generation: the others go on
            code = presenter.code_of(tracked.id)
            log.exception("generation_crashed", generation_id=str(tracked.id), code=code)
            state, view = State.failed, tracked.failed_view(Internal())
        await tracked.message.finish(view)
        self._end(tracked, state)

    def _end(self, tracked: TrackedGeneration, state: State) -> None:
        tracked.set_state(state)
        if state is State.revoking:
            self.spawn(self._revoke(tracked.id))

    async def _wait_accepted(self, tracked: TrackedGeneration) -> Generation:
        if tracked.delivery.photo:
            tracked.show_waiting("job.fetching")
        timer = asyncio.get_running_loop().call_later(_SHOW_WAITING_AFTER_S, tracked.show_waiting)
        try:
            generation = await self._gateway.put(tracked)
        finally:
            timer.cancel()
        if tracked.delivery.state is State.waiting:
            tracked.set_state(State.accepted)
        tracked.show(generation)
        return generation

    async def _wait_ended(self, tracked: TrackedGeneration, generation: Generation) -> Generation:
        while not generation.status.ended:
            try:
                async with self._gateway.follow(tracked) as events:
                    async for event in events:
                        if isinstance(event, Generation):
                            generation = event
                        if generation.status.ended:
                            break
                        tracked.show_event(event, generation)
            except NotFound:
                if self.deliveries.get(tracked.id) is None:  # the person deleted their data
                    raise Cancelled from None
                generation = await self._gateway.put(tracked)
            except (BackendUnreachable, Internal, NoGpu) as error:
                await tracked.wait_to_retry(error)
            else:
                if not generation.status.ended:  # its last event is of a newer backend
                    await tracked.wait_to_retry(BackendUnreachable("No final event"))
        return generation

    async def _cancel_when_blocked(self, tracked: TrackedGeneration) -> None:
        await tracked.message.blocked.wait()
        self.cancel(tracked.id)

    async def _stop(self, tracked: TrackedGeneration) -> None:
        """Cancel a tracked generation at the backend; never delete one that just finished."""
        while not tracked.delivery.message_ended:
            try:
                if not (await self.backend.get(tracked.id)).status.ended:
                    await self.backend.delete(tracked.id)
            except EaselError:  # not there yet, or the backend is away
                await asyncio.sleep(_STOP_RETRY_S)
            else:
                return

    async def _revoke(self, generation: UUID) -> None:
        """Cancel or delete a generation that nobody follows, as soon as the backend answers."""
        deadline, pause = time.monotonic() + _REVOKE_TIMEOUT_S, _REVOKE_RETRY_S
        while time.monotonic() < deadline:
            try:
                if (await self.backend.get(generation)).status not in ("failed", "cancelled"):
                    await self.backend.delete(generation)
            except NotFound:
                break
            except EaselError:
                await asyncio.sleep(pause)
                pause = min(_MAX_RETRY_S, pause * 1.5)
            else:
                break
        self.deliveries.set_state(generation, State.cancelled)


async def guarded(work: Awaitable[None]) -> None:
    """Await background work; what it raises is logged and ends there."""
    try:
        await work
    except (EaselError, TelegramError) as error:
        log.warning("background_task_failed", reason=str(error))
    except Exception:  # the edge of one piece of work: the others go on
        log.exception("background_task_crashed")
