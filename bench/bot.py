"""Measure the bot: from a chat message to the request at the backend, for one chat and for 500.

The bot and the local Telegram are real processes. A process of this module stands in for the
backend: it notes when each request arrives and keeps every event stream open, like a long queue.
The figures are therefore the bot's, plus the work of the chat server.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from backend.schemas import BackendHealth, Generation, QueueInfo
from bench.harness.services import cpu_s
from bench.report import finish, machine, parser, percentile
from gpu_server.schemas import State
from tests.services import free_port
from tests.telegram_bot.published import published
from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import Stack

_SINGLE_CHATS, _CROWD = 100, 500
_PROMPT = "a fox in fresh snow"
_TIMEOUT_S = 120.0  # how long to wait for every request or answer
_CONNECTIONS = 32
_HEARTBEAT_S = 10.0


class Arrivals:
    """Accepts generations as the backend does, draws none, and notes when each user's arrived."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self._modes = [published(name).model_dump() for name in ("free", "restyle")]
        self.app = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/modes", self._list),
                Route("/arrivals", self._arrivals),
                Route("/generations/{id}", self._put, methods=["PUT"]),
                Route("/generations/{id}/events", self._events),
            ]
        )

    async def _health(self, _: Request) -> Response:
        health = BackendHealth(
            status="ok",
            gpu_available=True,
            engine="sketch",
            version="0",
            pods=[],
            queue=QueueInfo(waiting=0, running=0, limit=_CROWD),
        )
        return JSONResponse(health.model_dump())

    async def _list(self, _: Request) -> Response:
        return JSONResponse(self._modes)

    async def _put(self, request: Request) -> Response:
        arrived = time.time()
        body = await request.json()
        self.at.setdefault(body["user"], arrived)
        answer = _queued(UUID(request.path_params["id"])).model_dump_json()
        return Response(answer, 202, media_type="application/json")

    async def _events(self, request: Request) -> Response:
        first = _queued(UUID(request.path_params["id"])).model_dump_json()

        async def stream() -> AsyncIterator[str]:
            yield f"event: state\ndata: {first}\n\n"
            while True:
                await asyncio.sleep(_HEARTBEAT_S)
                yield ": still here\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def _arrivals(self, _: Request) -> Response:
        return JSONResponse(self.at)


def _queued(generation: UUID) -> Generation:
    return Generation.model_validate(
        {
            "id": generation,
            "status": State.queued,
            "mode": "free",
            "style": "realism",
            "seed": 1,
            "position": 7,
            "estimated_seconds": 60,
            "created_at": "2026-01-01T00:00:00Z",
        }
    )


async def send(telegram: httpx.AsyncClient, user_id: int) -> float:
    """Send a message; return when the person pressed Enter, in seconds since the epoch."""
    pressed = time.time()
    body = {"user_id": user_id, "text": _PROMPT}
    (await telegram.post("/chat/send", json=body)).raise_for_status()
    return pressed


async def arrivals_of(backend: httpx.AsyncClient, people: Collection[int]) -> list[float]:
    """Wait for everyone's generation; return when each arrived."""
    async with asyncio.timeout(_TIMEOUT_S):
        while True:
            at = (await backend.get("/arrivals")).json()
            if all(f"tg{user_id}" in at for user_id in people):
                return [at[f"tg{user_id}"] for user_id in people]
            await asyncio.sleep(0.2)


async def one_by_one(telegram: httpx.AsyncClient, backend: httpx.AsyncClient) -> list[float]:
    """Measure the seconds from message to request, one person at a time."""
    people = range(70_000, 70_000 + _SINGLE_CHATS)
    pressed = []
    for user_id in people:
        pressed.append(await send(telegram, user_id))
        await asyncio.sleep(0.15)
    arrived = await arrivals_of(backend, people)
    return [at - since for at, since in zip(arrived, pressed, strict=True)]


async def crowd(
    telegram: httpx.AsyncClient, backend: httpx.AsyncClient
) -> tuple[list[float], float]:
    """Measure the seconds from message to request, and until the last chat had its answer."""
    people = range(80_000, 80_000 + _CROWD)
    began = time.time()
    turns = asyncio.Semaphore(_CONNECTIONS)

    async def in_turn(user_id: int) -> float:
        async with turns:
            return await send(telegram, user_id)

    pressed = await asyncio.gather(*(in_turn(user_id) for user_id in people))
    arrived = await arrivals_of(backend, people)
    delays = [at - since for at, since in zip(arrived, pressed, strict=True)]
    for user_id in people:
        await _answered(telegram, user_id)
    return delays, time.time() - began


async def _answered(telegram: httpx.AsyncClient, user_id: int) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        while True:
            messages = (await telegram.get("/chat/messages", params={"user_id": user_id})).json()
            if any(message["from"]["is_bot"] for message in messages):
                return
            await asyncio.sleep(0.25)


def pid_of(bot: Service) -> int:
    if bot.process is None:
        raise RuntimeError("the bot is not running")
    return bot.process.pid


def memory_mb(pid: int, field: str) -> float:
    """Read `VmRSS`, or its peak `VmHWM`, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def milliseconds(delays: list[float]) -> dict[str, float]:
    ms = [seconds * 1000 for seconds in delays]
    return {"p50": statistics.median(ms), "p95": percentile(ms, 95), "max": max(ms)}


async def measure(stack: Stack, port: int) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=_CONNECTIONS)
    local, url = stack.url["local_telegram"], f"http://127.0.0.1:{port}"
    async with (
        httpx.AsyncClient(base_url=local, trust_env=False, timeout=60, limits=limits) as telegram,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as backend,
    ):
        bot = await asyncio.to_thread(stack.start_bot, BOT_BACKEND_URL=url)
        pid = pid_of(bot)
        idle = memory_mb(pid, "VmRSS")
        single = milliseconds(await one_by_one(telegram, backend))
        used = cpu_s(pid)
        at_once, answered_s = await crowd(telegram, backend)
        figures = {
            "message_to_request_ms": single,
            "chats_at_once": _CROWD,
            "at_once_to_request_ms": milliseconds(at_once),
            "at_once_processor_s": cpu_s(pid) - used,
            "every_chat_answered_after_s": answered_s,
            "memory_idle_mb": idle,
            "memory_most_mb": memory_mb(pid, "VmHWM"),
        }
        await asyncio.to_thread(bot.stop)
    return figures


def run() -> dict[str, Any]:
    described = {"machine": machine()}
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        ready = f"http://127.0.0.1:{port}/modes"
        command = ("--arrivals", str(port))
        arrivals = Service("arrivals", "bench.bot", Path(folder), {}, command, ready)
        try:
            for service in (stack.telegram, arrivals):
                service.start()
                service.wait_ready()
            return described | asyncio.run(measure(stack, port))
        finally:
            arrivals.kill()
            stack.stop()


def main() -> int:
    options = parser("bot", __doc__)
    # This module is also the process that stands in for the backend.
    options.add_argument("--arrivals", type=int, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.arrivals:
        uvicorn.run(Arrivals().app, port=arguments.arrivals, log_level="error")
        return 0
    return finish("bot", run(), arguments.output)


if __name__ == "__main__":
    sys.exit(main())
