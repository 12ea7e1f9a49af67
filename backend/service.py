"""Generations as the routes need them: submit, look up, follow, cancel, delete."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from backend import views
from backend.acceptance import Acceptance
from backend.dispatch.active import ActiveGeneration
from backend.dispatch.dispatcher import Dispatcher
from backend.health import Platform
from backend.limits.refusals import Refusals
from backend.schemas import (
    EndOutcome,
    Generation,
    GenerationEnded,
    GenerationList,
    ProgressEvent,
    UserDeleted,
)
from backend.storage.generations import GenerationRow
from backend.storage.row import whose
from backend.storage.storage import Storage
from gpu_server.pictures.provenance import Signer
from gpu_server.schemas import Result, State
from web import errors, sse
from web.following import News
from web.sse import Event
from workflows.catalog import Catalog
from workflows.live import LiveCatalog

_STOP_TIMEOUT_S = 40.0
"""How long a caller who cancels waits for the GPU to stop."""
_POSITION_LOOK_S = 0.5
"""How often to look at the position of a queued generation, which changes without an event."""


@dataclass(frozen=True, kw_only=True)
class GenerationService:
    live: LiveCatalog
    storage: Storage
    dispatcher: Dispatcher
    acceptance: Acceptance
    platform: Platform
    refusals: Refusals
    signer: Signer
    public_url: str = ""

    @property
    def catalog(self) -> Catalog:
        """The catalogue of now; take it once for what must fit together."""
        return self.live.current

    async def get(self, generation_id: UUID, owner: str) -> GenerationRow:
        """Return the row that this API key knows under an id. Raises NotFound."""
        row = await self.storage.rows.find(owner, generation_id)
        if row is None:  # it may wait for its turn, and is not committed then
            active = self.dispatcher.queue.active.get(generation_id)
            row = active.row if active is not None and active.row.owner == owner else None
        if row is None:
            raise errors.NotFound("There is no such generation, or it was deleted")
        return row

    def view(self, row: GenerationRow) -> Generation:
        active = self.dispatcher.queue.active.get(row.id)
        return self._view_active(active) if active is not None else views.ended(row)

    def _view_active(self, active: ActiveGeneration) -> Generation:
        return views.active(active, *self.dispatcher.queue.place(active))

    async def page(
        self, owner: str, user: str | None, limit: int, cursor: str | None
    ) -> GenerationList:
        """Return a page, newest first. Raises InvalidRequest for a cursor from elsewhere."""
        rows = await self.storage.rows.page(owner, user, limit + 1, views.before(cursor))
        more = len(rows) > limit
        rows = rows[:limit]
        cursor = views.cursor_of(rows[-1]) if more else None
        return GenerationList(generations=[self.view(row) for row in rows], next_cursor=cursor)

    async def image(self, row: GenerationRow, number: int) -> bytes:
        """Return an image as stored. Raises NotFound, or ImageDamaged."""
        data = await self.storage.image(row, number)
        if data is None:
            raise errors.NotFound(f"This generation has no image {number}")
        return data

    async def finished(self, row: GenerationRow) -> GenerationRow:
        """Wait for the end and return the row of a success.

        Raises the error it failed with, Cancelled, or NoGpu if this process stops scheduling first.
        """
        active = await self.dispatcher.find(row.id)
        if active is None:
            ended = await self.get(row.public_id, row.owner)
        elif await active.wait():
            ended = active.row
        else:
            raise _not_scheduling()
        if ended.status is State.failed:
            failure = ended.outcome.failure if ended.outcome else None
            raise failure or errors.Internal()
        if ended.status is State.cancelled:
            raise errors.Cancelled
        return ended

    async def ended_within(self, row: GenerationRow, seconds: float) -> Generation:
        """Return the state at the end, or after this time.

        Raises NoGpu if this process stops scheduling first.
        """
        active = await self.dispatcher.find(row.id) if row.ended is None else None
        if active is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    if not await active.wait():
                        raise _not_scheduling()
            return self._view_active(active)
        return self.view(await self.get(row.public_id, row.owner))

    async def result(self, row: GenerationRow) -> Result:
        view = views.ended(row)
        images = [
            {**info.model_dump(), "data": base64.b64encode(await self.image(row, n)).decode()}
            for n, info in enumerate(view.images)
        ]
        return Result.model_validate({**view.model_dump(), "images": images})

    async def events(
        self,
        row: GenerationRow,
        *,
        after: int = -1,
        previews: bool = False,
        with_images: bool = False,
    ) -> AsyncIterator[Event]:
        """Yield what changes after version `after`, then `result`.

        A slow reader gets the newest of each kind. The stream ends without `result` when this
        process stops scheduling: the reader must ask again then.
        """
        active = await self.dispatcher.find(row.id)
        if active is not None:
            async for event in self._changes(active, after, previews=previews):
                yield event
            if active.is_dropped:
                return
        # The row in memory: the one in the database may be deleted by now.
        ended = active.row if active is not None else await self.get(row.public_id, row.owner)
        has_images = with_images and ended.status is State.succeeded
        result = await self.result(ended) if has_images else views.ended(ended)
        yield Event("result", result, sse.END)

    async def _changes(
        self, active: ActiveGeneration, after: int, *, previews: bool
    ) -> AsyncIterator[Event]:
        news = News()
        after = after if after <= active.version else -1  # else of an earlier process

        def look_again_s() -> float | None:
            return _POSITION_LOOK_S if active.pod is None else None

        async for _ in active.changes(after, look_again_s=look_again_s):
            if active.is_over:
                return
            view = self._view_active(active)
            for event in news.events(
                view,
                active.version,
                state=(view.status, view.position),
                progress=ProgressEvent(progress=view.progress, stage=view.stage),
            ):
                yield event
            preview = active.preview
            if previews and preview is not None and news.is_new_preview(preview):
                yield Event("preview", preview, active.version)

    def can_draw(self, mode: str, style: str) -> bool:
        """Whether a pod can draw this now."""
        return any(one.available for one in self.dispatcher.pods.style_states(mode, style))

    def preview_due(self, row: GenerationRow, progress: float) -> bool:
        """Whether drawing has got at least this far, from 0 to 1."""
        active = self.dispatcher.queue.active.get(row.id)
        return active is not None and active.progress >= progress

    async def abandon(self, row: GenerationRow) -> None:
        """Stop a generation whose caller hung up."""
        active = self.dispatcher.queue.active.get(row.id)
        if active is not None and not active.is_dropped:
            await self.dispatcher.cancel(active)

    async def end(self, row: GenerationRow) -> GenerationEnded:
        """Cancel it, or delete it if it has ended. Return what happened."""
        began = time.monotonic()
        outcome: EndOutcome
        active = await self.dispatcher.find(row.id)
        if active is None:
            await self.storage.delete([row])
            outcome, detail = "deleted", "Deleted with its images"
        else:
            outcome, detail = await self._stop(active)
        return GenerationEnded(
            id=row.public_id,
            status=row.status if active is None else active.status,
            outcome=outcome,
            detail=detail,
            took_ms=round((time.monotonic() - began) * 1000, 1),
        )

    async def _stop(self, active: ActiveGeneration) -> tuple[EndOutcome, str]:
        await self.dispatcher.cancel(active)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                if not await active.wait():
                    raise _not_scheduling()
        except TimeoutError:
            return "stopping", f"ComfyUI is {active.stage} and stops after that"
        if active.status is State.cancelled:
            return "cancelled", "Stopped"
        return "already_ended", "It ended before it could be stopped"

    async def delete_user(self, owner: str, user: str) -> UserDeleted:
        queue = self.dispatcher.queue
        rows = await self.storage.rows.of_user(owner, user)
        running = [queue.active[row.id] for row in rows if row.id in queue.active]
        running += [waiter.active for waiter in queue.turns.of(whose(owner, user))]
        for one in running:
            await self.dispatcher.cancel(one)
        if running:
            waits = [asyncio.ensure_future(one.wait()) for one in running]
            await asyncio.wait(waits, timeout=_STOP_TIMEOUT_S)
        rows = await self.storage.rows.of_user(owner, user)
        images = await self.storage.delete(rows)
        await self.refusals.forget(owner, user)
        return UserDeleted(user=user, generations=len(rows), images=images, cancelled=len(running))


def _not_scheduling() -> errors.NoGpu:
    return errors.NoGpu(
        "This backend no longer schedules: it is restarting, or has lost its database. Accepted "
        "generations are kept and continue by themselves; try again then",
        retry_after=5.0,
    )
