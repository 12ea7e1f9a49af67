"""What ended jobs leave in ComfyUI, history entries and files, and its removal."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import structlog

from gpu_server.comfy.answers import ComfyError
from gpu_server.comfy.client import ComfyClient
from gpu_server.comfy.engine import Engine
from gpu_server.jobs.job import Job, attempt_ids

log = structlog.get_logger()

AT_ONCE = 50


@dataclass(frozen=True)
class Leftover:
    """A job's prompts in ComfyUI; those that are `unwanted` should not even wait or run there."""

    job: UUID
    prompts: tuple[str, ...]
    unwanted: tuple[str, ...]


def leftover_of(job: Job, *, succeeded: bool) -> Leftover:
    prompts = attempt_ids(job.id, job.attempt)
    return Leftover(job.id, prompts, prompts[:-1] if succeeded else prompts)


class Leftovers:
    """Collected while jobs end, removed together. Nothing is dropped while ComfyUI is away."""

    def __init__(self, comfy: ComfyClient, engine: Engine) -> None:
        self._comfy = comfy
        self._engine = engine
        self._found: list[Leftover] = []
        self._in_hand: list[Leftover] = []
        self._removing = asyncio.Lock()

    def __contains__(self, job: UUID) -> bool:
        return any(leftover.job == job for leftover in (*self._found, *self._in_hand))

    def add(self, leftover: Leftover) -> None:
        self._found.append(leftover)

    async def remove(self) -> list[UUID]:
        """The jobs of which nothing is left in ComfyUI any more."""
        async with self._removing:
            if not self._found or not self._engine.in_service.is_set():
                return []
            self._in_hand, self._found = self._found, []
            done: list[UUID] = []
            try:
                await self._remove(await self._at_rest(self._in_hand), done)
            except ComfyError as error:
                log.info("leftovers_remain", error=str(error))
            self._found = [each for each in self._in_hand if each.job not in done] + self._found
            self._in_hand = []
            return done

    async def _at_rest(self, found: list[Leftover]) -> list[Leftover]:
        """Those of which ComfyUI draws nothing any more; it is told to stop the others."""
        unwanted = [prompt for leftover in found for prompt in leftover.unwanted]
        if not unwanted:
            return found
        # A prompt given up as lost may still have come: a frozen ComfyUI reads late.
        await self._comfy.drop(unwanted)
        queue = await self._comfy.queue()
        for prompt in queue.running.intersection(unwanted):
            await self._comfy.interrupt(prompt)
        return [each for each in found if not any(prompt in queue for prompt in each.unwanted)]

    async def _remove(self, found: list[Leftover], done: list[UUID]) -> None:
        if not found:
            return
        await self._comfy.forget([prompt for leftover in found for prompt in leftover.prompts])
        for few in batched(found):
            if self._engine.has_our_nodes:
                await self._comfy.remove_files([leftover.job for leftover in few])
            done += [leftover.job for leftover in few]


def batched(found: list[Leftover]) -> list[list[Leftover]]:
    """So many at once that their ids fit into an address."""
    return [found[start : start + AT_ONCE] for start in range(0, len(found), AT_ONCE)]
