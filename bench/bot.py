"""How fast the bot is: `python -m bench.bot` prints a table and writes `results/bot.json`.

The bot and the local Telegram are real processes. In the backend's place a process of this module
takes the requests and notes when each arrives; it keeps every event stream open, as with a long
line.
So the figures are the bot's, with the chat server's own work in them.
"""

import asyncio
import json
import os
import platform
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
from gpu_server.schemas import State
from tests.telegram_bot.published import published
from tests.telegram_bot.stack import Service, Stack, free_port

RESULTS = Path(__file__).with_name("results") / "bot.json"
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


def cpu_s(bot: Service) -> float:
    """Processor seconds the bot has used."""
    if bot.process is None:
        raise RuntimeError("the bot does not run")
    fields = Path(f"/proc/{bot.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(bot: Service, field: str) -> float:
    """`VmRSS`, or `VmHWM`: the most it has ever been."""
    if bot.process is None:
        raise RuntimeError("the bot does not run")
    status = Path(f"/proc/{bot.process.pid}/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith(field))
    return round(int(line.split()[1]) / 1024, 1)


def milliseconds(taken: list[float]) -> dict[str, float]:
    ordered = sorted(taken)
    return {
        "p50": round(1000 * statistics.median(ordered), 1),
        "p95": round(1000 * ordered[int(len(ordered) * 0.95)], 1),
        "max": round(1000 * ordered[-1], 1),
    }


async def measure(stack: Stack, port: int) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=CONNECTIONS)
    local, url = stack.url["local_telegram"], f"http://127.0.0.1:{port}"
    async with (
        httpx.AsyncClient(base_url=local, trust_env=False, timeout=60, limits=limits) as telegram,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as backend,
    ):
        bot = await asyncio.to_thread(stack.start_bot, BOT_BACKEND_URL=url)
        idle = memory_mb(bot, "VmRSS")
        one_by_one = milliseconds(await alone(telegram, backend))
        used = cpu_s(bot)
        at_once, answered_s = await crowd(telegram, backend)
        used = cpu_s(bot) - used
        figures = {
            "machine": f"{platform.machine()}, Python {platform.python_version()}, 2 shared cores",
            "load_average": round(os.getloadavg()[0], 1),
            "message_to_request_ms": one_by_one,
            "chats_at_once": CROWD,
            "at_once_to_request_ms": milliseconds(at_once),
            "at_once_processor_s": round(used, 2),
            "every_chat_answered_after_s": round(answered_s, 1),
            "memory_idle_mb": idle,
            "memory_most_mb": memory_mb(bot, "VmHWM"),
        }
        await asyncio.to_thread(bot.stop)
    return figures


def main() -> int:
    if len(sys.argv) > 1:
        uvicorn.run(Arrivals().app, port=int(sys.argv[1]), log_level="error")
        return 0
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder))
        ready = f"http://127.0.0.1:{port}/modes"
        arrivals = Service("arrivals", "bench.bot", Path(folder), {}, (str(port),), ready)
        try:
            for service in (stack.telegram, arrivals):
                service.start()
                service.wait_ready()
            figures = asyncio.run(measure(stack, port))
        finally:
            arrivals.kill()
            stack.stop()
    for name, value in figures.items():
        print(f"{name:28} {value}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
