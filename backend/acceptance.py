"""Accept generations: check the request, the policy and the limits, then commit."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID, uuid4

import structlog

from backend.dispatch.dispatcher import Dispatcher
from backend.dispatch.turns import Waiter
from backend.health import Platform
from backend.limits.quotas import Quotas
from backend.limits.refusals import Refusals
from backend.metrics import Metrics
from backend.scheduling import scheduler
from backend.schemas import GenerationRequest
from backend.storage.generations import GenerationRow, Outcome, Taken
from backend.storage.storage import Storage
from backend.webhooks import addresses
from backend.webhooks.addresses import Addresses
from gpu_server.pictures import uploads
from policy import Policy
from web import errors
from web.client import Photos
from web.content import fingerprint
from workflows import parameters
from workflows.catalog import Catalog
from workflows.live import LiveCatalog

log = structlog.get_logger()

_DECODED_AT_ONCE = 2
"""Photos decoded at a time: one of 40 megapixels takes some 450 MB meanwhile."""


_JUDGED_AT_ONCE = 4000
"""Characters of a prompt from which on it is judged in a thread: 32,000 take 50 ms."""


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    live: LiveCatalog
    storage: Storage
    dispatcher: Dispatcher
    policy: Policy
    quotas: Quotas
    refusals: Refusals
    metrics: Metrics
    platform: Platform
    timeout_s: float
    """GPU seconds that a generation may take, where its style does not say."""
    webhooks: Addresses | None = None
    """Which webhooks it may name; None: none, as nothing could be signed."""
    _decoding: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_DECODED_AT_ONCE), init=False
    )

    async def accept(
        self,
        generation_id: UUID,
        owner: str,
        request: GenerationRequest,
        photos: Photos,
        *,
        key: str | None = None,
        wait: bool = False,
        whole_prompt: str | None = None,
    ) -> tuple[GenerationRow, bool]:
        """Accept a generation, or find the one that the id or key already has.

        `key` is the caller's idempotency key. Where the request has only the beginning of the
        prompt, `whole_prompt` is all of it: that is what the policy judges. Return the committed
        row, and whether it is new.

        With `wait` the caller waits for the images, and where the user has too many unfinished
        generations, for their turn: the row is then accepted later, or ends as failed.

        Raises Conflict if the id or the key was used for another request, and other EaselErrors or
        InvalidValues if the request, the policy, the limits or the state of the pods forbid it.
        """
        whole = {} if whole_prompt is None else {"prompt": whole_prompt}
        request_hash = await fingerprint(request.model_dump() | whole, photos)
        try:
            self.refusals.check(owner, request.user)
            self._check_webhook(request)
            catalog = self.live.current
            request = await self._complete(catalog, owner, request, photos, whole)
            self._require_pod(request, wait=wait)
            mode = catalog.modes[request.mode]
            row = GenerationRow(
                id=generation_id,
                owner=owner,
                fingerprint=request_hash,
                request=request,
                model=mode.graph_spec(request.style).model,
                timeout_s=mode.styles[request.style].timeout_s or self.timeout_s,
                photos=tuple(photos),
                created=time.time(),
                idempotency_key=key,
            )
            row = await self._commit(row, photos, may_wait=wait)
        except (Taken, errors.EaselError, parameters.InvalidValues) as error:
            # A repeated request gets its original answer, even if it would be rejected now.
            known = await self._known(generation_id, owner, key, request_hash, waits=wait)
            if known is None and isinstance(error, Taken):
                text = "This id belongs to a deleted generation; use a new one"
                raise errors.Conflict(text) from error
            if known is None:
                raise
            active = await self.dispatcher.find(known.id)
            if photos and active is None:
                await self.storage.blobs.remove_photos(known)
            return known, False
        return row, True

    async def let_in(self, user: str) -> None:
        """Accept the generations of a user that wait for their turn, as far as there is room."""
        waits = True
        while waits:
            async with self.dispatcher.queue.turn(user) as waiter:
                waits = waiter is not None
                if waiter is not None:
                    await self._let_in(waiter)

    async def _let_in(self, waiter: Waiter) -> None:
        active, row = waiter.active, waiter.row
        try:
            await self._add(row, waiter.photos)
        except Exception as error:  # its caller is told; the others go on
            if isinstance(error, Taken):
                error = errors.Conflict("The same key was used meanwhile; ask again")
            elif not isinstance(error, errors.EaselError):
                log.exception("turn_broke", error=type(error).__name__)
                error = errors.Internal()
            self.dispatcher.queue.turn_away(active, error)
            return
        if active.is_closing:  # its caller hung up meanwhile
            await self.storage.rows.end(row.ended_with(Outcome.cancelled()))
            return
        self.dispatcher.queue.enter(active)
        self.metrics.accepted.labels(row.request.mode).inc()

    async def _complete(
        self,
        catalog: Catalog,
        owner: str,
        request: GenerationRequest,
        photos: Photos,
        whole: Mapping[str, str],
    ) -> GenerationRequest:
        """Return the request with every value filled in, once it is known to be drawable."""
        request = parameters.complete(request, catalog, photos=photos)
        mode = catalog.modes[request.mode]
        uploads.check_together(photos.values())
        for name, photo in photos.items():
            async with self._decoding:
                with uploads.named(name):
                    await asyncio.to_thread(uploads.decode, photo)
        # The prompt policy is always on, for every way in.
        judged = request.model_copy(update=whole)
        words, unwanted = judged.wanted_words, judged.unwanted_words
        check = partial(self.policy.check, words, unwanted, photo=mode.takes_image)
        refusal = await asyncio.to_thread(check) if len(words) > _JUDGED_AT_ONCE else check()
        if refusal is not None:
            self.metrics.refused.labels(refusal.category).inc()
            await self.refusals.note(owner, request.user, refusal.category)
            raise errors.ContentRefused(
                f"This server does not draw this: {refusal.title('en')}", category=refusal.category
            )
        return request

    def _check_webhook(self, request: GenerationRequest) -> None:
        """Raise InvalidRequest if its webhook may not be called, as far as it shows without DNS."""
        if request.webhook is None:
            return
        if self.webhooks is None:
            message = "cannot be used here: this server has no BACKEND_WEBHOOK_SECRET to sign with"
            raise errors.InvalidRequest.of([errors.FieldError(field="webhook", message=message)])
        fault = self.webhooks.fault_in(request.webhook.url)
        if fault is not None:
            wrong = errors.FieldError(field="webhook.url", message=fault, allowed=addresses.ALLOWED)
            raise errors.InvalidRequest.of([wrong])

    def _require_pod(self, request: GenerationRequest, *, wait: bool) -> None:
        """Raise ModelMissing if no pod has the model, NoGpu if a caller would wait for a pod."""
        pods = self.dispatcher.pods
        states = pods.style_states(request.mode, request.style)
        if any(state.available for state in states):
            return
        reason = pods.why_not(request.mode, request.style)
        if states and all(not all(state.files.values()) for state in states):
            raise errors.ModelMissing(f"The style '{request.style}' is not ready: {reason}")
        if wait:
            reason = reason or self.platform.why_not()
            raise errors.NoGpu(f"No GPU can draw this now: {reason}", retry_after=10.0)

    async def _commit(self, row: GenerationRow, photos: Photos, *, may_wait: bool) -> GenerationRow:
        """Commit the row and queue it, or let it wait for its turn; return it as committed.

        Raises Taken, RateLimited, QuotaExceeded or QueueFull.
        """
        queue = self.dispatcher.queue
        try:
            async with queue.entrance(row, may_wait=may_wait) as has_room:
                waiting = [waiter.row for waiter in queue.turns.of(row.whose)]
                await self.quotas.check(self.storage.rows, row, waiting)
                if not has_room:
                    if await self._with_key(row.owner, row.idempotency_key, waits=True):
                        raise Taken
                    queue.wait_for_turn(row, photos)
                    return row
                row = replace(row, pod=queue.free_pod(row))
                try:
                    await self._add(row, photos)
                except Taken:
                    row = await self._under_another_id(row)
                    await self._add(row, photos)
                self.dispatcher.take(row, is_new=True)
        except scheduler.UserBusy as busy:
            raise errors.RateLimited(str(busy), retry_after=busy.retry_after) from busy
        except scheduler.QueueFull as full:
            text = str(full)[:1].upper() + str(full)[1:]
            raise errors.QueueFull(text, retry_after=full.retry_after) from full
        self.metrics.accepted.labels(row.request.mode).inc()
        return row

    async def _add(self, row: GenerationRow, photos: Photos) -> None:
        for name, photo in photos.items():
            await self.storage.blobs.put_photo(row, name, photo)
        await self.storage.rows.add(row)

    async def _under_another_id(self, row: GenerationRow) -> GenerationRow:
        """Give the row another inner id, since another API key has this one; callers see the same.

        Raises Taken if the id is this key's own.
        """
        known = await self.storage.rows.get(row.id)
        if known is None or known.owner == row.owner:
            raise Taken
        # A random one: an id that can be derived from this one could be taken beforehand.
        return replace(row, id=uuid4(), own_id=row.id)

    async def _known(
        self, generation_id: UUID, owner: str, key: str | None, request_hash: str, *, waits: bool
    ) -> GenerationRow | None:
        """Return the generation with this id or key. Raises Conflict if the request was another."""
        found = await self._with_key(owner, key, waits=waits)
        found = found or await self.storage.rows.find(owner, generation_id)
        if found is not None and found.fingerprint != request_hash:
            what = "idempotency key" if key else "id"
            raise errors.Conflict(f"This {what} was used for another request")
        return found

    async def _with_key(self, owner: str, key: str | None, *, waits: bool) -> GenerationRow | None:
        """Return the generation with an idempotency key; one not accepted yet if `waits`."""
        if not key:
            return None
        waiting = self.dispatcher.queue.turns.with_key(owner, key) if waits else None
        return waiting or await self.storage.rows.by_key(owner, key)
