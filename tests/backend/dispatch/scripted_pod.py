"""A pod whose answers a test decides: a stand-in at the HTTP edge, where real pods die and lie."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

import uvicorn
from fastapi import FastAPI, Query, Response

from gpu_server.schemas import Ended, Health, ImageInfo, Job, State, StyleHealth
from web import errors, sse

PICTURE = b"\x89PNG of a test"
IMAGE = ImageInfo(seed=1, width=64, height=64, media_type="image/png", bytes=len(PICTURE))


@dataclass
class ScriptedPod:
    """Report every job as running until the test lets it end."""

    in_service: bool = True
    error: errors.EaselError | None = None
    """What jobs end with; None: with an image."""
    forgetful: bool = False
    """Deny having the jobs it is told to delete."""
    puts: list[UUID] = field(default_factory=list)
    deletes: list[UUID] = field(default_factory=list)
    _finish: asyncio.Event = field(default_factory=asyncio.Event)
    _cut: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self) -> None:
        """Let every job end, including later ones."""
        self._finish.set()

    def cut(self) -> None:
        """Break the open event streams."""
        self._cut.set()
        self._cut = asyncio.Event()

    def health(self) -> Health:
        style = StyleHealth(available=True, model="tiny.safetensors", files={})
        return Health(
            status="ok" if self.in_service else "down",
            gpu_available=self.in_service,
            engine="scripted",
            version="1",
            checks={"comfyui": "ok" if self.in_service else "gone"},
            capacity=1,
            queued=0,
            running=0,
            loaded_model=None,
            styles={"tiny": {"plain": style}},
        )

    async def events(self, job_id: UUID) -> AsyncIterator[sse.Event]:
        yield sse.Event("state", _job(job_id, State.running))
        cut = asyncio.ensure_future(self._cut.wait())
        finish = asyncio.ensure_future(self._finish.wait())
        try:
            await asyncio.wait({cut, finish}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut.cancel()
            finish.cancel()
        if cut.done():
            raise ConnectionAbortedError
        ended = _job(job_id, State.succeeded)
        if self.error is not None:
            ended = _job(job_id, State.failed, self.error)
        yield sse.Event("result", ended)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/health")
        async def health() -> Health:
            return self.health()

        @app.put("/jobs/{job_id}")
        async def put(job_id: UUID) -> Response:
            self.puts.append(job_id)
            return sse.response(self.events(job_id), 202)

        @app.get("/jobs/{job_id}/images/{number}")
        async def image(job_id: UUID, number: int) -> Response:
            return Response(PICTURE, media_type="image/png")

        @app.delete("/jobs", status_code=204)
        async def forget(job_ids: Annotated[list[UUID], Query(alias="id")]) -> None:
            self.deletes += job_ids

        @app.delete("/jobs/{job_id}")
        async def delete(job_id: UUID) -> Response:
            self.deletes.append(job_id)
            if self.forgetful:
                problem = errors.NotFound().problem().model_dump_json()
                return Response(problem, 404, media_type="application/problem+json")
            ended = Ended(
                id=job_id, status=State.cancelled, outcome="deleted", detail="", took_ms=0
            )
            return Response(ended.model_dump_json(), media_type="application/json")

        return app


def _job(job_id: UUID, status: State, error: errors.EaselError | None = None) -> Job:
    return Job(
        id=job_id,
        status=status,
        mode="tiny",
        style="plain",
        seed=1,
        engine="scripted",
        images=[IMAGE] if status is State.succeeded else [],
        error=error.problem() if error else None,
    )


@contextlib.asynccontextmanager
async def scripted_pod() -> AsyncIterator[tuple[ScriptedPod, str]]:
    """Yield the pod and its base URL."""
    pod = ScriptedPod()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(pod.app(), log_config=None, timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield pod, f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
