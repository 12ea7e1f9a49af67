"""One prompt in ComfyUI, from posting it to knowing how it ended.

The event channel reports at once; the history is the truth. When frames stay out, history, queue
and history again are read in this order before a prompt counts as lost, and a socket that is open
but mute is replaced. Every wait has a timeout.
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
from gpu_server.comfy.model_files import largest_to_load
from gpu_server.comfy.progress import Progress
from gpu_server.jobs.job import Job, Submission
from gpu_server.schemas import State
from gpu_server.timeouts import Timeouts
from web import errors
from workflows.render import Rendered

log = structlog.get_logger()

Place = Literal["running", "waiting", "stuck", "nowhere"]
"""Where ComfyUI has a prompt; `stuck`: it waits and nothing runs, as with a dead worker."""
_STOP_CHECK_S = 0.25
"""Interval between checks of whether a prompt that is to be stopped has ended."""
_PAUSES = 3
"""How many times its longest pause so far a node may be silent: on a CPU every step is slow."""
_HISTORY_PAUSE_S = 0.05
"""Pause before looking again for a prompt that is nowhere."""


@dataclass(eq=False)
class Lost(Exception):
    """The prompt is in no queue and no history: ComfyUI restarted, or someone removed it."""

    was_running: bool


@dataclass(eq=False)
class WorkerDead(Exception):
    """ComfyUI answers and accepts prompts, but runs none."""

    was_running: bool


@dataclass(kw_only=True)
class PromptRun:
    """One attempt of a job."""

    job: Job
    rendered: Rendered
    comfy: ComfyClient
    channel: EventChannel
    engine: Engine
    timeouts: Timeouts
    boot: int = 0
    """The engine's `boots` when the prompt was posted."""
    _running_since: float | None = None
    _stuck_since: float | None = None
    _reconnected_at: float | None = None
    _stop_sent_at: float = 0.0
    _timed_out_at: float | None = None
    _check_at: float = 0.0

    async def to_end(self, extra_data: dict[str, Any]) -> HistoryEntry:
        """Post the prompt unless ComfyUI has it already, and follow it to its end.

        Raises Lost, WorkerDead, Unreachable or GraphRefused; Cancelled or Timeout end the job.
        """
        if not self.channel.open.is_set():
            with suppress(TimeoutError):  # without a socket the history is polled
                async with asyncio.timeout(2 * self.timeouts.tick_s):
                    await self.channel.open.wait()
        self.boot = self.engine.boots
        progress = Progress(self.rendered.graph)
        async with self.channel.watch(self.job.prompt_id, progress, self.job.wake) as watch:
            return await self._begin(watch, extra_data) or await self._follow(watch)

    async def _begin(self, watch: Watch, extra_data: dict[str, Any]) -> HistoryEntry | None:
        if self.job.submission is not Submission.no:
            answer = await self._find()
            if isinstance(answer, HistoryEntry):
                return answer
            if answer != "nowhere":
                self._check_in(0)
                return None
            if self.job.submission is Submission.yes:
                raise Lost(was_running=self.job.status is State.running)
        if self.job.is_stopping:
            raise errors.Cancelled
        self.job.mark_submitted(Submission.yes)
        try:
            await self.comfy.post_prompt(
                self.rendered.graph, self.job.prompt_id, self.channel.client_id, extra_data
            )
        except PostUnknown:
            # The next check finds it, or it counts as lost and is posted under another id: under
            # this one it may still arrive.
            self._check_in(0)
        except Unreachable:
            self.job.mark_submitted(Submission.no)
            raise
        else:
            self._check_in(self.timeouts.tick_s)
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
            return "waiting" if queue.running else "stuck"
        return await self.comfy.history(prompt_id) or "nowhere"

    async def _follow(self, watch: Watch) -> HistoryEntry:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._check_at - time.monotonic()):
                    await watch.changed.wait()
            if watch.changed.is_set() and not self.job.is_stopping:
                self._check_in(self.timeouts.tick_s)
            watch.changed.clear()
            self._show(watch)
            if watch.over:
                watch.over = False
                # Without every frame of the end the history tells how it ended.
                seen = watch.ended if self._saw_every_output(watch) else None
                if entry := seen or await self._ended_or_lost():
                    return entry
            if watch.suspect:
                watch.suspect = False
                self._check_in(0)
            if self.job.is_stopping:
                await self._stop_prompt()
            await self._check_deadline(watch)
            if time.monotonic() >= self._check_at:
                self._check_in(_STOP_CHECK_S if self.job.is_stopping else self.timeouts.tick_s)
                if entry := await self._reconcile(watch):
                    return entry

    def _check_in(self, seconds: float) -> None:
        self._check_at = time.monotonic() + seconds

    def _show(self, watch: Watch) -> None:
        if watch.started_at is None:
            return
        if watch.preview is not None:
            self.job.show_preview(watch.preview)
            watch.preview = None
        model_s = watch.progress.model_s
        self.job.advance(
            watch.progress.fraction,
            watch.progress.stage,
            model_s=model_s,
            gpu_s=time.monotonic() - watch.started_at - model_s,
        )

    def _saw_every_output(self, watch: Watch) -> bool:
        if watch.ended is None or watch.ended.status != "success":
            return True
        return all(watch.outputs.get(node) for node in self.rendered.outputs)

    async def _reconcile(self, watch: Watch) -> HistoryEntry | None:
        """Ask ComfyUI after a silence. Returns how the prompt ended, if it has."""
        answer = await self._find()
        if isinstance(answer, str) and answer != "nowhere" and self._has_dead_worker():
            raise WorkerDead(was_running=answer == "running")
        if answer != "stuck":
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = time.monotonic()
        elif time.monotonic() - self._stuck_since > self.timeouts.not_started_s:
            raise WorkerDead(was_running=False)
        match answer:
            case "running":
                watch.start()
                await self._check_running(watch)
                return None
            case "waiting" | "stuck":
                return None
            case "nowhere":
                entry = await self._ended_or_lost()
            case _:
                entry = answer
        if entry is not None and not watch.alive and self.channel.open.is_set():
            # It ran, yet no frame came over the open socket: the socket is mute.
            await self._replace_socket(watch)
        return entry

    async def _ended_or_lost(self) -> HistoryEntry | None:
        """Find out about a prompt that left the queue: it ended, was removed, or is lost.

        Returns None if it turns up in the queue after all. Raises Cancelled or Lost.
        """
        deadline = time.monotonic() + self.timeouts.history_s
        while True:
            restarted = self.engine.boots != self.boot
            answer = await self._find()
            if isinstance(answer, HistoryEntry):
                return answer
            if answer != "nowhere":
                return None
            if self.job.is_stopping:
                raise errors.Cancelled
            if restarted or time.monotonic() > deadline:
                was_running = self.job.status is State.running or self._running_since is not None
                raise Lost(was_running=was_running)
            await asyncio.sleep(_HISTORY_PAUSE_S)

    async def _check_running(self, watch: Watch) -> None:
        """Find out why a running prompt is silent: a long node, a mute socket or a dead worker."""
        now = time.monotonic()
        if self._running_since is None or not self.channel.open.is_set():
            self._running_since = now
        silent_s = now - max(watch.last_sign_at, self._running_since)
        if silent_s <= self.timeouts.mute_s:
            return
        replaced_at = self._reconnected_at
        if replaced_at is None or now - replaced_at > self.timeouts.dead_s:
            await self._replace_socket(watch)
            if self.channel.node_on_connect is not None:
                watch.learn_node(self.channel.node_on_connect)
            return
        self.engine.suspect()
        if self.engine.says_worker_lives:
            return
        if silent_s > self._patience_s(watch) or await self.comfy.tells_of_dead_worker():
            raise WorkerDead(was_running=True)

    def _has_dead_worker(self) -> bool:
        return self.engine.has_dead_worker and self.engine.boots == self.boot

    def _patience_s(self, watch: Watch) -> float:
        """How long a ComfyUI that cannot say whether its worker lives may be silent."""
        progress, limits = watch.progress, self.timeouts
        if progress.node not in progress.graph:
            return limits.dead_s
        size = largest_to_load(progress.graph, progress.node, is_loaded=progress.has_stepped)
        loading_s = limits.load_s_per_gb * size / 1e9
        slow_s = _PAUSES * watch.longest_pause_s
        return limits.dead_s + limits.quiet_node_s + loading_s + slow_s

    async def _replace_socket(self, watch: Watch) -> None:
        log.info("event_channel_mute", prompt_id=watch.prompt_id)
        self._reconnected_at = time.monotonic()
        with suppress(TimeoutError):
            await self.channel.reconnect()

    async def _stop_prompt(self) -> None:
        """Drop and interrupt the prompt. Safe to repeat: both calls name it and spare others."""
        if time.monotonic() - self._stop_sent_at < self.timeouts.tick_s:
            return
        self._stop_sent_at = self._check_at = time.monotonic()
        self.engine.suspect()  # a dead worker stops nothing
        await self.comfy.drop([self.job.prompt_id])
        await self.comfy.interrupt(self.job.prompt_id)

    async def _check_deadline(self, watch: Watch) -> None:
        """Stop a prompt that takes too long; restart ComfyUI if it does not stop it."""
        if watch.started_at is None:
            return
        now = time.monotonic()
        loading_s = watch.progress.model_seconds(now)
        drawing_s = now - watch.started_at - loading_s
        if drawing_s <= self.job.timeout_s and loading_s <= self.timeouts.loading_s:
            return
        if self._timed_out_at is None:
            self._timed_out_at = now
        await self._stop_prompt()
        stopped = self.job.prompt_id not in await self.comfy.queue()
        if not stopped and now - self._timed_out_at > self.timeouts.stop_s:
            await self.engine.restart("hang", self.boot)
            stopped = True
        if stopped:
            raise errors.Timeout(
                f"It was not finished after {drawing_s + loading_s:.0f} s and was stopped; "
                "try a smaller size or fewer pictures"
            )
