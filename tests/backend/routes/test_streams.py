"""Event streams over a real server: heartbeats, hanging up, and readers that do not keep up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from gpu_server.schemas import ProgressEvent
from web import sse


class Silence:
    """An event stream without an event, which knows when it was closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def events(self) -> AsyncIterator[sse.Event]:
        try:
            await asyncio.Event().wait()
            yield sse.Event("progress", ProgressEvent(progress=1, stage="never"))
        finally:
            self.closed.set()


@contextlib.asynccontextmanager
async def served(silence: Silence) -> AsyncIterator[str]:
    async def stream(_: Request) -> StreamingResponse:
        return sse.response(silence.events(), heartbeat_s=0.05)

    app = Starlette(routes=[Route("/", stream)])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
        server.should_exit = True
        await serving


async def test_a_quiet_stream_beats_and_ends_when_the_reader_hangs_up() -> None:
    silence = Silence()
    async with served(silence) as url, httpx.AsyncClient() as http:
        beats = 0
        async with http.stream("GET", url) as stream:
            async for line in stream.aiter_lines():
                beats += line.startswith(":")
                if beats == 3:
                    break
        async with asyncio.timeout(20):
            await silence.closed.wait()
