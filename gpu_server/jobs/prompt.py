"""One prompt in ComfyUI, from posting it to knowing how it ended.

The event channel tells at once; the history is the truth. When frames stay out, history, queue and
history are read in this order before anything is called lost, and a socket that is open but mute
is replaced. Nothing here waits for ever.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from gpu_server.comfy.answers import HistoryEntry, PostUnknown, Unreachable
from gpu_server.comfy.client import ComfyClient
from gpu_server.comfy.engine import Engine
from gpu_server.comfy.events import EventChannel, Watch
from gpu_server.comfy.progress import Progress
from gpu_server.jobs.job import Job
from gpu_server.schemas import State
from gpu_server.timeouts import Patience
from web import errors
from workflows.render import Rendered

log = structlog.get_logger()

Place = Literal["running", "waiting", "stuck", "nowhere"]
_STOP_LOOK_S = 0.25


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
    patience: Patience
    boot: int = 0
    _running_since: float | None = None
    _stuck_since: float | None = None
    _reconnected_at: float | None = None
    _stop_sent_at: float = 0.0
    _timed_out_at: float | None = None
    _look_at: float = 0.0

    async def to_end(self, extra_data: dict[str, Any]) -> HistoryEntry:
        """Post the prompt unless ComfyUI has it already, and follow it to its end.

        Raises Lost, WorkerDead, Unreachable, GraphRefused, or an EaselError that ends the job.
        """
        if not self.channel.open.is_set():
            with suppress(TimeoutError):  # without a socket the history is polled
                async with asyncio.timeout(2 * self.patience.tick_s):
                    await self.channel.open.wait()
        self.boot = self.engine.boots
        progress = Progress(self.rendered.graph)
        async with self.channel.watch(self.job.prompt_id, progress, self.job.wake) as watch:
            return await self._begin(watch, extra_data) or await self._follow(watch)

    async def _begin(self, watch: Watch, extra_data: dict[str, Any]) -> HistoryEntry | None:
        if self.job.submitted is not False:
            found = await self._find()
            if isinstance(found, HistoryEntry):
                return found
            if found != "nowhere":
                self._look_after(0)
                return None
            if self.job.submitted:
                raise Lost(was_running=self.job.state is State.running)
        if self.job.cancelling:
            raise errors.Cancelled
        self.job.submitted = True
        try:
            await self.comfy.post_prompt(
                self.rendered.graph, self.job.prompt_id, self.channel.client_id, extra_data
            )
        except PostUnknown:
            # The next look finds it, or it is lost and posted again, under another id: under
            # this one it may still come.
            self._look_after(0)
        except Unreachable:
            self.job.submitted = False
            raise
        else:
            self._look_after(self.patience.tick_s)
        watch.posted_at = time.monotonic()
        return None

    async def _find(self) -> HistoryEntry | Place:
        prompt_id = self.job.prompt_id
        entry = await self.comfy.history(prompt_id)
        if entry is not None:
            return entry
        queue = await self.comfy.queue()
        if prompt_id in queue.running:
            return "running"
        if prompt_id in queue.pending:
            return "stuck" if queue.stands_still else "waiting"
        return await self.comfy.history(prompt_id) or "nowhere"

    async def _follow(self, watch: Watch) -> HistoryEntry:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._loop_time(self._look_at)):
                    await watch.changed.wait()
            if watch.changed.is_set() and not self.job.cancelling:
                self._look_after(self.patience.tick_s)
            watch.changed.clear()
            self._show(watch)
            entry = await self._verdict(watch) if watch.over else None
            if entry is not None:
                return entry
            if watch.suspect:
                watch.suspect = False
                self._look_after(0)
            if self.job.cancelling:
                await self._stop_prompt()
            await self._check_deadline(watch)
            if time.monotonic() >= self._look_at:
                self._look_after(_STOP_LOOK_S if self.job.cancelling else self.patience.tick_s)
                entry = await self._reconcile(watch)
                if entry is not None:
                    return entry

    def _look_after(self, seconds: float) -> None:
        self._look_at = time.monotonic() + seconds

    def _loop_time(self, monotonic: float) -> float:
        return asyncio.get_running_loop().time() + monotonic - time.monotonic()

    def _show(self, watch: Watch) -> None:
        if watch.started_at is None:
            return
        job, progress = self.job, watch.progress
        if job.state is State.queued:
            job.timings.queued_ms = _ms(time.time() - job.created_at)
        job.timings.model_ms = _ms(progress.model_s)
        job.timings.gpu_ms = _ms(time.monotonic() - watch.started_at - progress.model_s)
        if watch.preview is not None:
            job.previews_dropped += job.preview is not None and not job.preview_taken
            job.preview, job.preview_taken = watch.preview, False
            watch.preview = None
        job.update(
            state=State.running,
            progress=max(job.progress, progress.fraction),
            stage=progress.stage,
        )

    async def _verdict(self, watch: Watch) -> HistoryEntry | None:
        """How it ended. The frames tell when they were all seen, else the history."""
        watch.over = False
        if watch.ended is not None and self._every_output_seen(watch):
            return watch.ended
        return await self._ended_or_lost()

    def _every_output_seen(self, watch: Watch) -> bool:
        if watch.ended is None or watch.ended.status != "success":
            return True
        return all(watch.outputs.get(node) for node in self.rendered.outputs)

    async def _reconcile(self, watch: Watch) -> HistoryEntry | None:
        """No frame came for a while: ask. Returns how it ended, if it has."""
        found = await self._find()
        if found == "stuck":
            self._check_worker()
        else:
            self._stuck_since = None
        match found:
            case "running":
                watch.start()
                await self._check_running(watch)
                return None
            case "waiting" | "stuck":
                return None
            case "nowhere":
                entry = await self._ended_or_lost()
            case _:
                entry = found
        if entry is not None and not watch.alive and self.channel.open.is_set():
            # It has run, and the open socket told nothing of it: it is mute.
            await self._replace_socket(watch)
        return entry

    async def _ended_or_lost(self) -> HistoryEntry | None:
        """It is in no queue: it ended this moment, was taken out, or it is lost.

        None when it turns up in the queue after all.
        """
        deadline = time.monotonic() + self.patience.history_s
        while True:
            restarted = self.engine.boots != self.boot
            found = await self._find()
            if isinstance(found, HistoryEntry):
                return found
            if found != "nowhere":
                return None
            if self.job.cancelling:
                raise errors.Cancelled
            if restarted or time.monotonic() > deadline:
                was_running = self.job.state is State.running or self._running_since is not None
                raise Lost(was_running=was_running)
            await asyncio.sleep(0.05)

    def _check_worker(self) -> None:
        now = time.monotonic()
        self._stuck_since = self._stuck_since or now
        if now - self._stuck_since > self.patience.not_started_s:
            raise WorkerDead

    async def _check_running(self, watch: Watch) -> None:
        """ComfyUI says it runs, but is silent: a long node, a mute socket, or a dead worker."""
        now = time.monotonic()
        if self._running_since is None or not self.channel.open.is_set():
            self._running_since = now
        silent_s = now - max(watch.last_sign_at, self._running_since)
        if silent_s > self.patience.dead_s and not watch.alive:
            raise WorkerDead
        replaced_at = self._reconnected_at
        if silent_s > self.patience.mute_s and (
            replaced_at is None or now - replaced_at > self.patience.dead_s
        ):
            await self._replace_socket(watch)
            if self.channel.node_on_connect is not None:
                watch.begin_node(self.channel.node_on_connect)
                watch.touch()

    async def _replace_socket(self, watch: Watch) -> None:
        log.info("event_channel_mute", prompt_id=watch.prompt_id)
        self._reconnected_at = time.monotonic()
        with suppress(TimeoutError):
            await self.channel.reconnect()

    async def _stop_prompt(self) -> None:
        """Safe to repeat: both calls name the prompt and leave others alone."""
        if time.monotonic() - self._stop_sent_at < self.patience.tick_s:
            return
        self._stop_sent_at = self._look_at = time.monotonic()
        await self.comfy.drop([self.job.prompt_id])
        await self.comfy.interrupt(self.job.prompt_id)

    async def _check_deadline(self, watch: Watch) -> None:
        """Stop a prompt that takes too long; restart a ComfyUI that does not stop it."""
        if watch.started_at is None:
            return
        now = time.monotonic()
        loading_s = watch.progress.model_seconds(now)
        drawing_s = now - watch.started_at - loading_s
        if drawing_s <= self.job.order.timeout_s and loading_s <= self.patience.loading_s:
            return
        if self._timed_out_at is None:
            self._timed_out_at = now
        await self._stop_prompt()
        stopped = self.job.prompt_id not in await self.comfy.queue()
        if not stopped and now - self._timed_out_at > self.patience.stop_s:
            await self.engine.restart("hang", self.boot)
            stopped = True
        if stopped:
            raise errors.Timeout(
                f"It was not finished after {drawing_s + loading_s:.0f} s and was stopped; "
                "try a smaller size or fewer pictures"
            )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
