"""A local Telegram on a free loopback port, used as a person and as a bot."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import pytest
import uvicorn
from PIL import Image

from telegram_bot.local.__main__ import bind
from telegram_bot.local.app import create_app
from telegram_bot.local.settings import LocalTelegramSettings
from telegram_bot.local.state.world import World

T = TypeVar("T")
TOKEN = "123456:test-token_ABC"
Json = dict[str, Any]


def picture(width: int = 64, height: int = 48, form: str = "PNG", colour: str = "teal") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, form)
    return out.getvalue()


@dataclass(frozen=True)
class Local:
    """A running local Telegram: its URL, an HTTP client for it, and its state."""

    url: str
    http: httpx.AsyncClient
    world: World

    async def call(self, method: str, /, **params: Any) -> Any:
        """Make a Bot API call that must succeed; return its result."""
        answer = (await self.http.post(f"/bot{TOKEN}/{method}", json=params)).json()
        assert answer["ok"], answer
        return answer["result"]

    async def refusal(self, method: str, /, **params: Any) -> str:
        """Make a Bot API call that must be refused; return the description."""
        response = await self.http.post(f"/bot{TOKEN}/{method}", json=params)
        answer = response.json()
        assert not answer["ok"], answer
        assert response.status_code == answer["error_code"]
        return str(answer["description"])

    async def upload(self, method: str, files: Json, /, **params: Any) -> httpx.Response:
        return await self.http.post(f"/bot{TOKEN}/{method}", data=params, files=files)

    async def says(self, user_id: int, text: str, **more: Any) -> int:
        return await self.send(user_id=user_id, text=text, **more)

    async def send(self, **body: Any) -> int:
        """Send a person's message, bytes as base64; return its id."""
        encoded = {k: _encoded(v) for k, v in body.items()}
        response = await self.http.post("/chat/send", json=encoded)
        assert response.status_code == 200, response.text
        return int(response.json()["message_id"])

    async def press(self, user_id: int, message_id: int, button: str, **more: Any) -> Json:
        body = {"user_id": user_id, "message_id": message_id, "button": button, **more}
        response = await self.http.post("/chat/press", json=body)
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def messages(self, user_id: int, chat_id: int | None = None) -> list[Json]:
        query = {"user_id": user_id} | ({} if chat_id is None else {"chat_id": chat_id})
        return list((await self.http.get("/chat/messages", params=query)).json())

    async def fault(self, fault: str, method: str = "*", **more: Any) -> None:
        body = {"method": method, "fault": fault, "count": 1, **more}
        response = await self.http.post("/chat/fault", json=body)
        assert response.status_code == 200, response.text

    async def updates(self, **params: Any) -> list[Json]:
        return list(await self.call("getUpdates", **params))

    async def sees(self, user_id: int, wanted: Callable[[list[Json]], bool]) -> list[Json]:
        """Wait until the person's chat looks as wanted."""
        return await until(lambda: self.messages(user_id), wanted)


async def until(get: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """Poll until the answer is the wanted one; raise `TimeoutError` after 20 s."""
    async with asyncio.timeout(20):
        while True:
            if wanted(value := await get()):
                return value
            await asyncio.sleep(0.02)


def _encoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return [_encoded(v) for v in value] if isinstance(value, list) else value


async def _serve(settings: LocalTelegramSettings) -> AsyncIterator[Local]:
    app = create_app(settings)
    listener = bind(settings)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup([listener])  # `serve` notices its end only at the next tick
    try:
        async with httpx.AsyncClient(
            base_url=url, trust_env=False, verify=False, timeout=30
        ) as http:
            yield Local(url, http, app.state.world)
    finally:
        app.state.world.close()
        await server.shutdown([listener])


@pytest.fixture
async def local() -> AsyncIterator[Local]:
    async for running in _serve(LocalTelegramSettings(_env_file=None, local_telegram_port=0)):
        yield running


@pytest.fixture
async def strict_local() -> AsyncIterator[Local]:
    """Start a local Telegram that enforces flood limits."""
    settings = LocalTelegramSettings(
        _env_file=None, local_telegram_port=0, local_telegram_flood_limits=True
    )
    async for running in _serve(settings):
        yield running
