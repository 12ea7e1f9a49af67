"""What ended jobs leave in ComfyUI, history entries and files, and its removal."""

import asyncio
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from gpu_server.comfy.answers import ComfyError
from gpu_server.comfy.client import ComfyClient
from gpu_server.comfy.engine import Engine
from gpu_server.jobs.job import Job, attempt_ids
from gpu_server.schemas import State

log = structlog.get_logger()

AT_ONCE = 50
"""Jobs per request to remove files: their ids must fit into its address."""


@dataclass(frozen=True)
class Leftover:
    """A job's prompts in ComfyUI; the `unwanted` ones must not even wait or run there."""

    job: UUID
    prompts: tuple[str, ...]
    unwanted: tuple[str, ...]

    @classmethod
    def of(cls, job: Job) -> "Leftover":
        prompts = attempt_ids(job.id, job.attempt)
        succeeded = job.status is State.succeeded
        return cls(job.id, prompts, prompts[:-1] if succeeded else prompts)

    @classmethod
    def of_deleted(cls, job: UUID, attempt: int) -> "Leftover":
        prompts = attempt_ids(job, attempt)
        return cls(job, prompts, unwanted=prompts)


@dataclass
class Cleanup:
    """Collect leftovers as jobs end and remove them together, once ComfyUI is in service."""

    comfy: ComfyClient
    engine: Engine
    _waiting: list[Leftover] = field(default_factory=list)
    _in_hand: list[Leftover] = field(default_factory=list)
    _removing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __contains__(self, job: UUID) -> bool:
        return any(leftover.job == job for leftover in (*self._waiting, *self._in_hand))

    def add(self, leftover: Leftover) -> None:
        self._waiting.append(leftover)

    async def run(self) -> list[UUID]:
        """Remove what can be removed; return the jobs of which ComfyUI keeps nothing now."""
        async with self._removing:
            if not self._waiting or not self.engine.in_service.is_set():
                return []
            self._in_hand, self._waiting = self._waiting, []
            done: list[UUID] = []
            try:
                await self._remove(await self._at_rest(self._in_hand), done)
            except ComfyError as error:
                log.info("cleanup_deferred", error=str(error))
            self._waiting = [each for each in self._in_hand if each.job not in done] + self._waiting
            self._in_hand = []
            return done

    async def _at_rest(self, leftovers: list[Leftover]) -> list[Leftover]:
        """Return those with no prompt in ComfyUI's queue, after stopping the unwanted prompts."""
        unwanted = [prompt for leftover in leftovers for prompt in leftover.unwanted]
        if not unwanted:
            return leftovers
        # A prompt given up as lost may still arrive: a frozen ComfyUI reads its requests late.
        await self.comfy.drop(unwanted)
        queue = await self.comfy.queue()
        for prompt in queue.running.intersection(unwanted):
            await self.comfy.interrupt(prompt)
        return [each for each in leftovers if not any(prompt in queue for prompt in each.unwanted)]

    async def _remove(self, leftovers: list[Leftover], done: list[UUID]) -> None:
        if not leftovers:
            return
        await self.comfy.forget([prompt for leftover in leftovers for prompt in leftover.prompts])
        for start in range(0, len(leftovers), AT_ONCE):
            jobs = [leftover.job for leftover in leftovers[start : start + AT_ONCE]]
            if self.engine.has_our_nodes:
                await self.comfy.remove_files(jobs)
            done += jobs
