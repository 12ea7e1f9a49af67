"""How long calls take, alone and side by side."""

import asyncio
import time
from collections.abc import Awaitable, Callable

Call = Callable[[], Awaitable[object]]
CLIENTS = 8


async def in_turns(first: Call, second: Call, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each call, taken alternately so that a busy machine is busy for both."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, times in zip((first, second), taken, strict=True):
            began = time.perf_counter()
            await call()
            times.append((time.perf_counter() - began) * 1000)
    return taken


async def rate(call: Call, count: int, clients: int = CLIENTS) -> float:
    """Calls per second, `clients` of them at a time."""
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return count / (time.perf_counter() - began)
