"""How fast the bot is: from a chat message to its request at the backend, alone and in a crowd.

The bot and the local Telegram are real processes. In the backend's place a process of this module
takes the requests and notes when each arrives; it keeps every event stream open, as with a long
line. So the figures are the bot's, with the chat server's own work in them.
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

from backend.schemas import Generation
from bench.report import finish, machine, parser, percentile
from bench.services import cpu_s
from gpu_server.schemas import State
from tests.services import free_port
from tests.telegram_bot.published import published
from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import Stack

ALONE, CROWD = 100, 500
PROMPT = "a fox in fresh snow"
DEADLINE_S = 120.0
CONNECTIONS = 32
HEARTBEAT_S = 10.0


class Arrivals:
    """Takes generations as the backend does, draws none, and notes when each user's arrived."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self._modes = [published(name).model_dump() for name in ("free", "restyle")]
        self.app = Starlette(
            routes=[
                Route("/modes", self._list),
                Route("/arrivals", self._arrivals),
                Route("/generations/{id}", self._put, methods=["PUT"]),
                Route("/generations/{id}/events", self._events),
            ]
        )

    async def _list(self, _: Request) -> Response:
        return JSONResponse(self._modes)

    async def _put(self, request: Request) -> Response:
        arrived = time.time()
        asked = await request.json()
        self.at.setdefault(asked["user"], arrived)
        body = _queued(UUID(request.path_params["id"])).model_dump_json()
        return Response(body, 202, media_type="application/json")

    async def _events(self, request: Request) -> Response:
        first = _queued(UUID(request.path_params["id"])).model_dump_json()

        async def stream() -> AsyncIterator[str]:
            yield f"event: state\ndata: {first}\n\n"
            while True:
                await asyncio.sleep(HEARTBEAT_S)
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
    """Seconds since the epoch at which the person pressed Enter."""
    pressed = time.time()
    body = {"user_id": user_id, "text": PROMPT}
    (await telegram.post("/chat/send", json=body)).raise_for_status()
    return pressed


async def arrivals_of(backend: httpx.AsyncClient, people: Collection[int]) -> list[float]:
    """When each person's generation arrived; waits for all."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            at = (await backend.get("/arrivals")).json()
            if all(f"tg{user_id}" in at for user_id in people):
                return [at[f"tg{user_id}"] for user_id in people]
            await asyncio.sleep(0.2)


async def alone(telegram: httpx.AsyncClient, backend: httpx.AsyncClient) -> list[float]:
    """Seconds from message to request, one person at a time."""
    people = range(70_000, 70_000 + ALONE)
    pressed = []
    for user_id in people:
        pressed.append(await send(telegram, user_id))
        await asyncio.sleep(0.15)
    arrived = await arrivals_of(backend, people)
    return [at - since for at, since in zip(arrived, pressed, strict=True)]


async def crowd(
    telegram: httpx.AsyncClient, backend: httpx.AsyncClient
) -> tuple[list[float], float]:
    """Seconds from message to request, and until the last chat had its answer."""
    people = range(80_000, 80_000 + CROWD)
    began = time.time()
    turns = asyncio.Semaphore(CONNECTIONS)

    async def in_turn(user_id: int) -> float:
        async with turns:
            return await send(telegram, user_id)

    pressed = await asyncio.gather(*(in_turn(user_id) for user_id in people))
    arrived = await arrivals_of(backend, people)
    taken = [at - since for at, since in zip(arrived, pressed, strict=True)]
    for user_id in people:
        await _answered(telegram, user_id)
    return taken, time.time() - began


async def _answered(telegram: httpx.AsyncClient, user_id: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            messages = (await telegram.get("/chat/messages", params={"user_id": user_id})).json()
            if any(message["from"]["is_bot"] for message in messages):
                return
            await asyncio.sleep(0.25)


def pid_of(bot: Service) -> int:
    if bot.process is None:
        raise RuntimeError("the bot does not run")
    return bot.process.pid


def memory_mb(pid: int, field: str) -> float:
    """MiB; `VmRSS`, or `VmHWM`: the most it has ever been."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def milliseconds(taken: list[float]) -> dict[str, float]:
    ms = [seconds * 1000 for seconds in taken]
    return {"p50": statistics.median(ms), "p95": percentile(ms, 95), "max": max(ms)}


async def measure(stack: Stack, port: int) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=CONNECTIONS)
    local, url = stack.url["local_telegram"], f"http://127.0.0.1:{port}"
    async with (
        httpx.AsyncClient(base_url=local, trust_env=False, timeout=60, limits=limits) as telegram,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as backend,
    ):
        bot = await asyncio.to_thread(stack.start_bot, BOT_BACKEND_URL=url)
        pid = pid_of(bot)
        idle = memory_mb(pid, "VmRSS")
        one_by_one = milliseconds(await alone(telegram, backend))
        used = cpu_s(pid)
        at_once, answered_s = await crowd(telegram, backend)
        figures = {
            "message_to_request_ms": one_by_one,
            "chats_at_once": CROWD,
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
    # The process in the backend's place is this module too.
    options.add_argument("--arrivals", type=int, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.arrivals:
        uvicorn.run(Arrivals().app, port=given.arrivals, log_level="error")
        return 0
    return finish("bot", run(), given.output)


if __name__ == "__main__":
    sys.exit(main())
