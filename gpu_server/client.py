"""The GPU server's client, for the backend, benches and tests."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from gpu_server.schemas import Ended, Health, Job, ModeInfo, Preview, ProgressEvent
from web.client import Message, Peer, Photos, body
from web.errors import EngineLost

JobEvent = Job | ProgressEvent | Preview
_EVENTS: dict[str, type[Job] | type[ProgressEvent] | type[Preview]] = {
    "state": Job,
    "result": Job,
    "progress": ProgressEvent,
    "preview": Preview,
}


@dataclass(frozen=True)
class GpuClient:
    """One GPU server. Calls raise the EaselErrors it answers with, or EngineLost without one."""

    peer: Peer

    @classmethod
    def at(
        cls, url: str, token: str = "", headers: Callable[[], dict[str, str]] = dict
    ) -> "GpuClient":
        """Create a client; `headers` is called for every request and its result sent along."""
        return cls(Peer(url, token, lost=EngineLost, headers=headers))

    async def close(self) -> None:
        await self.peer.close()

    async def health(self, timeout_s: float = 4) -> Health:
        answer = await self.peer.request("GET", "/health", timeout_s=timeout_s)
        return Health.model_validate_json(answer.content)

    async def ready(self) -> bool:
        try:
            await self.peer.request("GET", "/readyz")
        except EngineLost:
            return False
        return True

    async def modes(self) -> list[ModeInfo]:
        answer = await self.peer.request("GET", "/modes")
        return [ModeInfo.model_validate(mode) for mode in answer.json()]

    @asynccontextmanager
    async def draw(
        self,
        job_id: UUID,
        request: Mapping[str, Any],
        photos: Photos | None = None,
        *,
        previews: bool = False,
    ) -> AsyncIterator[AsyncIterator[JobEvent]]:
        """Submit a job, or find it again, and yield its events up to the last one."""
        options = {
            "params": {"previews": "true"} if previews else {},
            **body(request, photos or {}),
        }
        async with self.peer.stream("PUT", f"/jobs/{job_id}", **options) as events:
            yield _parsed(events)

    async def job(self, job_id: UUID) -> Job:
        answer = await self.peer.request("GET", f"/jobs/{job_id}")
        return Job.model_validate_json(answer.content)

    async def image(self, job_id: UUID, number: int) -> bytes:
        answer = await self.peer.request("GET", f"/jobs/{job_id}/images/{number}")
        return answer.content

    async def forget(self, job_ids: Collection[UUID]) -> None:
        """Delete ended jobs, at most FORGOTTEN_AT_ONCE; skip those that run or are unknown."""
        params = [("id", str(job_id)) for job_id in job_ids]
        await self.peer.request("DELETE", "/jobs", params=params)

    async def delete(self, job_id: UUID) -> Ended:
        """Cancel the job, or forget it with its images if it has ended."""
        answer = await self.peer.request("DELETE", f"/jobs/{job_id}", timeout_s=45)
        return Ended.model_validate_json(answer.content)


async def _parsed(events: AsyncIterator[Message]) -> AsyncIterator[JobEvent]:
    async for event in events:
        kind = _EVENTS.get(event.event)
        if kind is not None:
            yield kind.model_validate_json(event.data)
