"""A receiver of webhooks on loopback, which answers as a test tells it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

from tests.backend.processes import free_ports

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Told:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str = SECRET) -> dict[str, Any]:
        """Return the event. Raises WebhookVerificationError."""
        event: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return event

    @property
    def generation(self) -> str:
        return str(json.loads(self.body)["data"]["id"])


async def well(_: web.Request) -> web.StreamResponse:
    return web.Response(status=204)


def with_status(status: int, **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    return answer


@dataclass
class Receiver:
    port: int
    answer: Answer = well
    told: list[Told] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def _take(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        told = Told(request.path_qs, headers, await request.read())
        async with self._news:
            self.told.append(told)
            self._news.notify_all()
        return await self.answer(request)

    async def until(self, number: int, seconds: float = 60.0) -> list[Told]:
        """Wait until it was asked so many times; return the requests."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: len(self.told) >= number)
        return self.told

    async def until_told_of(self, *generations: str, seconds: float = 60.0) -> list[Told]:
        """Wait until it was told of each; return all requests."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(
                lambda: set(generations) <= {told.generation for told in self.told}
            )
        return self.told


@asynccontextmanager
async def receiving(answer: Answer = well, port: int = 0) -> AsyncIterator[Receiver]:
    """Run a receiver in this event loop."""
    receiver = Receiver(port or free_ports(1)[0], answer)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver._take)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", receiver.port).start()
    try:
        yield receiver
    finally:
        await runner.cleanup()
