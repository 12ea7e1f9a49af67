"""Generations, as the routes ask for them: submit, look, follow, cancel, delete."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import structlog

from backend import views
from backend.dispatch.active import Live
from backend.dispatch.dispatcher import Dispatcher
from backend.health import Platform
from backend.limits.quotas import Quotas
from backend.limits.refusals import Refusals as Abuse
from backend.metrics import Metrics
from backend.scheduling import scheduler
from backend.schemas import (
    Generation,
    GenerationEnded,
    GenerationList,
    GenerationRequest,
    ProgressEvent,
    UserDeleted,
)
from backend.storage.generations import Order, Row, Store, Taken
from backend.transcoding import Transcoder
from gpu_server.pictures import uploads
from gpu_server.schemas import Result, State
from policy import Policy
from web import errors
from web.sse import Event
from workflows import parameters
from workflows.catalog import Catalog

log = structlog.get_logger()

STOP_WAIT_S = 40.0
DECODED_AT_ONCE = 2
"""Photos: one of 40 megapixels takes some 450 MB meanwhile."""
MIN_POSITION_PAUSE_S = 0.5


@dataclass
class GenerationService:
    catalog: Catalog
    store: Store
    dispatcher: Dispatcher
    policy: Policy
    quotas: Quotas
    metrics: Metrics
    platform: Platform
    abuse: Abuse
    transcoder: Transcoder
    timeout_s: float
    public_url: str = ""
    _decoding: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(DECODED_AT_ONCE), init=False
    )

    # -- accepting -----------------------------------------------------------------------

    async def submit(
        self,
        generation_id: UUID,
        owner: str,
        asked: GenerationRequest,
        photo: bytes | None,
        *,
        key: str | None = None,
        wait: bool = False,
    ) -> tuple[Row, bool]:
        """Accept a generation: committed when this returns. True when it is new.

        The same id or key with the same request gives the generation it gave before; with another
        request Conflict. With `wait` the caller waits for pictures: NoGpu when none could be drawn
        now. Raises what is wrong with the request, ContentRefused, and what the limits say.
        """
        mark = await _fingerprint(asked, photo)
        try:
            self.abuse.check(owner, asked.user)
            order = await self._order(owner, asked, photo)
            self._require_pod(order, wait=wait)
            row = Row(
                generation_id,
                owner,
                asked.user,
                mark,
                order,
                time.time(),
                idempotency_key=key,
            )
            await self._accept(row, photo)
        except (Taken, errors.EaselError, parameters.InvalidValues) as error:
            # What was accepted before is answered as before, whatever is said of it now.
            known = await self._known(generation_id, owner, key, mark)
            if known is None and isinstance(error, Taken):
                raise errors.Conflict("This id was used for what is deleted now") from error
            if known is None:
                raise
            live = await self.dispatcher.find(known.id)
            if photo is not None and live is None:
                await self.store.forget_photo(known)
            return known, False
        self.metrics.accepted.labels(order.request.mode).inc()
        return row, True

    async def _accept(self, row: Row, photo: bytes | None) -> None:
        """Commit the row and put it in line; raises Taken and what the limits say."""
        try:
            async with self.dispatcher.entrance(f"{row.owner}/{row.user}"):
                await self.quotas.check(self.store, row.owner, row.user, row.order.request.count)
                if photo is not None:
                    await self.store.put_photo(row, photo)
                row = replace(row, pod=self.dispatcher.free_pod(row.order))
                await self.store.add(row)
                self.dispatcher.take(row, new=True)
        except scheduler.UserBusy as busy:
            raise errors.RateLimited(str(busy), retry_after=busy.retry_after) from busy
        except scheduler.QueueFull as full:
            raise errors.QueueFull("The line is full", retry_after=full.retry_after) from full

    async def _known(
        self, generation_id: UUID, owner: str, key: str | None, mark: str
    ) -> Row | None:
        """The generation that this id or key was used for before; raises Conflict."""
        found = await self.store.by_key(owner, key) if key else None
        found = found or await self.store.get(generation_id)
        if found is not None and (found.owner != owner or found.fingerprint != mark):
            what = "idempotency key" if key else "id"
            raise errors.Conflict(f"This {what} was used for another request")
        return found

    async def _order(self, owner: str, asked: GenerationRequest, photo: bytes | None) -> Order:
        request = parameters.complete(asked, self.catalog, has_image=photo is not None)
        mode = self.catalog.modes[request.mode]
        if photo is not None:
            if not mode.takes_image:
                raise errors.InvalidRequest(f"image: the mode '{mode.name}' takes no image")
            async with self._decoding:
                await asyncio.to_thread(uploads.decode, photo)
        await self._require_decency(owner, asked.user, request)
        style = mode.styles[request.style]
        return Order(
            request,
            asked.format,
            asked.priority,
            mode.graph_spec(request.style).model,
            style.timeout_s or self.timeout_s,
            photo is not None,
        )

    async def _require_decency(self, owner: str, user: str, request: parameters.Request) -> None:
        """The prompt policy: always on, for every way in."""
        mode = self.catalog.modes[request.mode]
        refusal = self.policy.check(
            request.wanted_words, request.unwanted_words, photo=mode.takes_image
        )
        if refusal is not None:
            self.metrics.refused.labels(refusal.category).inc()
            await self.abuse.note(owner, user, refusal.category)
            raise errors.ContentRefused(
                f"This server does not draw this: {refusal.title('en')}", category=refusal.category
            )

    def _require_pod(self, order: Order, *, wait: bool) -> None:
        """Raises ModelMissing when no pod has the model, NoGpu when a waiting caller would wait
        for a pod to come back."""
        mode, style = order.request.mode, order.request.style
        pods = [pod for pod in self.dispatcher.pods.values() if pod.in_service]
        states = [state for pod in pods if (state := pod.style(mode, style)) is not None]
        if any(state.available for state in states):
            return
        reasons = [state.reason for state in states if state.reason]
        if states and all(not all(state.files.values()) for state in states):
            raise errors.ModelMissing(f"The style '{style}' is not ready: {reasons[0]}")
        if wait:
            reason = reasons[0] if reasons else self.platform.why_not()
            raise errors.NoGpu(f"No GPU can draw this now: {reason}", retry_after=10)

    # -- looking -------------------------------------------------------------------------

    async def get(self, generation_id: UUID, owner: str) -> Row:
        """Raises NotFound, also for another key's generation."""
        row = await self.store.get(generation_id)
        if row is None or row.owner != owner:
            raise errors.NotFound("There is no such generation (any more)")
        return row

    def view(self, row: Row) -> Generation:
        """The state now: from memory while it lasts, else as it was kept."""
        live = self.dispatcher.live.get(row.id)
        return self.live_view(live) if live is not None else views.kept_view(row)

    def live_view(self, live: Live) -> Generation:
        position, seconds = self.dispatcher.place(live)
        row = live.row
        if row.ended is not None:
            return views.kept_view(row)
        return views.basics(row).model_copy(
            update={
                "status": live.state,
                "engine": live.engine,
                "position": position,
                "estimated_seconds": seconds,
                "progress": round(live.progress, 4),
                "stage": live.stage,
            }
        )

    async def page(
        self, owner: str, user: str | None, limit: int, cursor: str | None
    ) -> GenerationList:
        """Newest first; raises InvalidRequest for a cursor that is not ours."""
        rows = await self.store.page(owner, user, limit + 1, views.before(cursor))
        more = len(rows) > limit
        rows = rows[:limit]
        cursor = views.cursor_of(rows[-1]) if more else None
        return GenerationList(generations=[self.view(row) for row in rows], next_cursor=cursor)

    async def image(self, row: Row, number: int) -> bytes:
        """The picture as kept; raises NotFound."""
        data = None
        if row.status is State.succeeded and 0 <= number < len(views.images_of(row)):
            data = await self.store.image(row.id, number)
        if data is None:
            raise errors.NotFound(f"This generation has no picture {number}")
        return data

    async def finished(self, row: Row) -> Row:
        """The row once it has ended well; raises what it failed of, Cancelled, or NoGpu when
        nothing goes on here any more."""
        live = await self.dispatcher.find(row.id)
        if live is not None:
            if not await live.over():
                raise _let_go()
            ended = live.row
        else:
            ended = await self.get(row.id, row.owner)
        if ended.status is State.failed:
            raise views.error_of(ended)
        if ended.status is State.cancelled:
            raise errors.Cancelled
        return ended

    async def result(self, row: Row) -> Result:
        view = views.kept_view(row)
        data = [await self.image(row, n) for n in range(len(view.images))]
        images = [
            {**info.model_dump(), "data": base64.b64encode(image).decode()}
            for info, image in zip(view.images, data, strict=True)
        ]
        return Result.model_validate({**view.model_dump(), "images": images})

    async def events(
        self, row: Row, *, after: int = -1, previews: bool = False, with_images: bool = False
    ) -> AsyncIterator[Event]:
        """Its changes from now on, the newest of each kind; ends with `result`, or without when
        nothing goes on here any more: then it is to be asked for again.

        However slowly they are taken, nothing piles up: what was missed is summed up.
        """
        live = await self.dispatcher.find(row.id)
        if live is not None:
            async for event in self._changes(
                live, after if after <= live.version else -1, previews
            ):
                yield event
            if live.dropped:
                return
        ended = await self.get(row.id, row.owner)
        if with_images and ended.status is State.succeeded:
            yield Event("result", await self.result(ended))
        else:
            yield Event("result", views.kept_view(ended))

    async def _changes(self, live: Live, after: int, previews: bool) -> AsyncIterator[Event]:
        state: Any = None
        progress: Any = None
        preview: Any = None
        with live.follow() as changed:
            while not live.done.is_set() and not live.dropped:
                try:
                    async with asyncio.timeout(MIN_POSITION_PAUSE_S if live.pod is None else None):
                        await changed.wait()
                except TimeoutError:
                    pass  # the place in line changes without a change of this generation
                changed.clear()
                # Only at first: the place in line changes without a version of its own.
                known, after = live.version <= after, -1
                if known or live.done.is_set():
                    continue
                view = self.live_view(live)
                if (view.status, view.position) != state:
                    state = (view.status, view.position)
                    yield Event("state", view, live.version)
                if (view.progress, view.stage) != progress:
                    progress = (view.progress, view.stage)
                    event = ProgressEvent(progress=view.progress, stage=view.stage)
                    yield Event("progress", event, live.version)
                if previews and live.preview is not None and live.preview is not preview:
                    preview = live.preview
                    yield Event("preview", preview, live.version)

    async def abandon(self, row: Row) -> None:
        """Whoever waited for it has gone: stop it."""
        live = self.dispatcher.live.get(row.id)
        if live is not None and not live.dropped:
            await self.dispatcher.cancel(live)

    # -- ending --------------------------------------------------------------------------

    async def end(self, row: Row) -> GenerationEnded:
        """Cancel it, or delete it when it has ended. Says what happened."""
        began = time.monotonic()
        live = await self.dispatcher.find(row.id)
        if live is None:
            await self.store.delete([row])
            return _ended(row.id, row.status, "deleted", "It was deleted with its pictures", began)
        await self.dispatcher.cancel(live)
        try:
            async with asyncio.timeout(STOP_WAIT_S):
                if not await live.over():
                    raise _let_go()
        except TimeoutError:
            detail = f"ComfyUI is {live.stage} and stops after that"
            return _ended(row.id, live.state, "stopping", detail, began)
        if live.state is State.cancelled:
            return _ended(row.id, live.state, "cancelled", "It was stopped", began)
        detail = "It had ended before it could be stopped"
        return _ended(row.id, live.state, "already_ended", detail, began)

    async def delete_user(self, owner: str, user: str) -> UserDeleted:
        """Stop and delete everything of a user."""
        rows = await self.store.of_user(owner, user)
        running = [live for row in rows if (live := self.dispatcher.live.get(row.id))]
        for live in running:
            await self.dispatcher.cancel(live)
        if running:
            waits = [asyncio.ensure_future(live.over()) for live in running]
            await asyncio.wait(waits, timeout=STOP_WAIT_S)
        rows = await self.store.of_user(owner, user)
        images = await self.store.delete(rows)
        await self.abuse.forget(owner, user)
        return UserDeleted(user=user, generations=len(rows), images=images, cancelled=len(running))


def _let_go() -> errors.NoGpu:
    return errors.NoGpu(
        "This backend schedules no more: it is being restarted, or has lost its database. What was "
        "accepted is kept and goes on by itself; ask again then",
        retry_after=5,
    )


async def _fingerprint(asked: GenerationRequest, photo: bytes | None) -> str:
    body = json.dumps(asked.model_dump(), sort_keys=True, default=str)
    digest = hashlib.sha256(body.encode())
    if photo is not None:
        await asyncio.to_thread(digest.update, photo)
    return digest.hexdigest()


def _ended(
    generation_id: UUID, status: State, outcome: Any, detail: str, began: float
) -> GenerationEnded:
    took = round((time.monotonic() - began) * 1000, 1)
    return GenerationEnded(
        id=generation_id, status=status, outcome=outcome, detail=detail, took_ms=took
    )
