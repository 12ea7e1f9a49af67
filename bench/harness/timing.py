"""Time calls, alone and side by side."""

import asyncio
import time
from collections.abc import Awaitable, Callable

Call = Callable[[], Awaitable[object]]
CLIENTS = 8


async def in_turns(first: Call, second: Call, rounds: int) -> tuple[list[float], list[float]]:
    """Time each call in milliseconds, alternating so that a busy machine slows both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, own_times in zip((first, second), times, strict=True):
            began = time.perf_counter()
            await call()
            own_times.append((time.perf_counter() - began) * 1000)
    return times


async def rate(call: Call, count: int, clients: int = CLIENTS) -> float:
    """Measure calls per second, `clients` of them at a time."""
    left = iter(range(count))

    async def client() -> None:
        for _ in left:
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return count / (time.perf_counter() - began)
