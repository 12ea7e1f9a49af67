"""One prompt in ComfyUI, from posting it to knowing how it ended.

The event channel tells at once; the history is the truth. When frames stay out, history, queue and
history are read in this order before anything is called lost, and a socket that is open but mute
is replaced once. Nothing here waits for ever.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from gpu_server.comfy_client import ComfyClient, HistoryEntry, PostUnknown, Unreachable
from gpu_server.engine import Engine
from gpu_server.event_channel import EventChannel, Watch
from gpu_server.jobs import Job
from gpu_server.progress import Progress
from gpu_server.schemas import State
from web import errors
from workflows.render import Rendered

log = structlog.get_logger()

TICK_S = 1.0
MUTE_AFTER_S = 4.0
DEAD_AFTER_S = 12.0
NOT_STARTED_S = 5.0
STOP_S = 30.0
LOADING_LIMIT_S = 900.0
HISTORY_RACE_S = 2.0


class Lost(Exception):
    """The prompt is in no queue and no history: ComfyUI was restarted or somebody removed it."""

    def __init__(self, *, was_running: bool) -> None:
        super().__init__("the prompt is lost")
        self.was_running = was_running


class WorkerDead(Exception):
    """ComfyUI answers, takes prompts and runs none."""


@dataclass
class PromptRun:
    job: Job
    rendered: Rendered
    comfy: ComfyClient
    channel: EventChannel
    engine: Engine
    previews_dropped: int = 0
    _running_seen: bool = False
    _idle_since: float | None = None
    _reconnected_at: float = 0.0
    _stop_sent_at: float = 0.0
    _timed_out_at: float | None = None

    async def to_end(self, extra_data: dict[str, Any]) -> HistoryEntry:
        """Post the prompt unless ComfyUI has it already, and follow it to its end.

        Raises Lost, WorkerDead, Unreachable, GraphRefused, or an EaselError that ends the job.
        """
        with suppress(TimeoutError):  # without a socket the history is polled
            async with asyncio.timeout(2 * TICK_S):
                await self.channel.open.wait()
        async with self.channel.watch(self.job.prompt_id, Progress(self.rendered.graph)) as watch:
            try:
                if not self.job.submitted:
                    await self._post(extra_data)
                elif not await self._known():
                    raise Lost(was_running=self.job.state is State.running)
                return await self._follow(watch)
            finally:
                self.previews_dropped = watch.previews_dropped

    async def _known(self) -> bool:
        prompt_id = self.job.prompt_id
        if await self.comfy.history(prompt_id) or prompt_id in await self.comfy.queue():
            return True
        return await self.comfy.history(prompt_id) is not None

    async def _post(self, extra_data: dict[str, Any]) -> None:
        if self.job.cancelling:
            raise errors.Cancelled
        self.job.submitted = True
        for _ in range(3):
            try:
                await self.comfy.post_prompt(
                    self.rendered.graph, self.job.prompt_id, self.channel.client_id, extra_data
                )
            except PostUnknown:
                if await self._known():
                    return
                continue
            return
        raise Unreachable("ComfyUI does not answer when it is given a prompt")

    async def _follow(self, watch: Watch) -> HistoryEntry:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await watch.changed.wait()
            silent = not watch.changed.is_set()
            watch.changed.clear()
            self._show(watch)
            if watch.over:
                return await self._verdict(watch)
            if self.job.cancelling:
                await self._stop_prompt()
            await self._check_deadline(watch)
            if silent or self.job.cancelling:
                entry = await self._reconcile(watch)
                if entry is not None:
                    return entry

    def _show(self, watch: Watch) -> None:
        now = time.monotonic()
        if watch.started_at is not None and self.job.state is State.queued:
            self.job.timings.queued_ms = round((time.time() - self.job.created_at) * 1000, 1)
        if watch.started_at is not None:
            progress = watch.progress
            self.job.timings.model_ms = round(progress.model_s * 1000, 1)
            spent = now - watch.started_at - progress.model_s
            self.job.timings.gpu_ms = round(spent * 1000, 1)
            preview, watch.preview = watch.preview, None
            self.job.update(
                state=State.running,
                progress=progress.fraction,
                stage=progress.stage,
                preview=preview or self.job.preview,
            )

    async def _verdict(self, watch: Watch) -> HistoryEntry:
        """How it ended. The frames tell when they were all seen, else the history."""
        if watch.ended is not None and self._every_output_seen(watch):
            return watch.ended
        deadline = time.monotonic() + HISTORY_RACE_S
        while time.monotonic() < deadline:
            entry = await self.comfy.history(self.job.prompt_id)
            if entry is not None:
                return entry
            await asyncio.sleep(0.05)
        raise Lost(was_running=True)

    def _every_output_seen(self, watch: Watch) -> bool:
        if watch.ended is None or watch.ended.status != "success":
            return True
        return all(watch.outputs.get(node) for node in self.rendered.outputs)

    async def _reconcile(self, watch: Watch) -> HistoryEntry | None:
        """No frame came for a while: ask. Returns how it ended, if it has."""
        prompt_id = self.job.prompt_id
        entry = await self.comfy.history(prompt_id)
        if entry is not None:
            return entry
        queue = await self.comfy.queue()
        if prompt_id in queue.running:
            self._running_seen = True
            await self._check_running(watch)
            return None
        if prompt_id in queue.pending:
            self._check_pending(worker_idle=not queue.running)
            return None
        return await self._gone_from_queue()

    async def _gone_from_queue(self) -> HistoryEntry:
        """Neither running nor waiting: it ended this moment, or it is lost."""
        deadline = time.monotonic() + HISTORY_RACE_S
        while time.monotonic() < deadline:
            entry = await self.comfy.history(self.job.prompt_id)
            if entry is not None:
                return entry
            if self.job.cancelling:
                raise errors.Cancelled
            await asyncio.sleep(0.25)
        raise Lost(was_running=self._running_seen or self.job.state is State.running)

    def _check_pending(self, *, worker_idle: bool) -> None:
        now = time.monotonic()
        if not worker_idle:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > NOT_STARTED_S:
            raise WorkerDead

    async def _check_running(self, watch: Watch) -> None:
        """ComfyUI says it runs, but is silent: a long node, a mute socket, or a dead worker."""
        silent_s = time.monotonic() - watch.last_frame_at
        if silent_s > MUTE_AFTER_S and time.monotonic() - self._reconnected_at > DEAD_AFTER_S:
            self._reconnected_at = time.monotonic()
            self.engine.count_reconnect()
            with suppress(TimeoutError):
                await self.channel.reconnect()
            if self.channel.node_on_connect is not None:
                watch.begin_node(self.channel.node_on_connect)
                watch.touch()
        elif silent_s > DEAD_AFTER_S and watch.started_at is None:
            raise WorkerDead

    async def _stop_prompt(self) -> None:
        """Safe to repeat: both calls name the prompt and leave others alone."""
        if time.monotonic() - self._stop_sent_at < TICK_S:
            return
        self._stop_sent_at = time.monotonic()
        await self.comfy.drop(self.job.prompt_id)
        await self.comfy.interrupt(self.job.prompt_id)

    async def _check_deadline(self, watch: Watch) -> None:
        """Stop a prompt that takes too long; restart a ComfyUI that does not stop it."""
        if watch.started_at is None:
            return
        now = time.monotonic()
        loading_s = watch.progress.model_seconds(now)
        drawing_s = now - watch.started_at - loading_s
        if drawing_s <= self.job.order.timeout_s and loading_s <= LOADING_LIMIT_S:
            return
        if self._timed_out_at is None:
            self._timed_out_at = now
        await self._stop_prompt()
        stopped = self.job.prompt_id not in await self.comfy.queue()
        if not stopped and now - self._timed_out_at > STOP_S:
            await self.engine.restart("hang")
            stopped = True
        if stopped:
            raise errors.Timeout(
                f"It was not finished after {drawing_s:.0f} s of drawing and was stopped; "
                "try a smaller size or fewer pictures"
            )
