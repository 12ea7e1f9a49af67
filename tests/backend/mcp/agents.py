"""A backend for agents, and the SDK's clients that reach it both ways, in both eras."""

import asyncio
import base64
import io
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from tests import services

ALICE = "alice-secret-0123456789"
BOB = "bob-secret-0123456789-b"
WAYS = ["http", "http, earlier protocol", "stdio"]


@dataclass(frozen=True)
class Backend:
    url: str
    engine: str

    def http(self, key: str = ALICE) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def generations(self, *statuses: str, key: str = ALICE) -> list[str]:
        """Return the ids of the generations in one of these states, newest first."""
        with self.http(key) as http:
            found = http.get("/generations", params={"limit": 100}).json()["generations"]
        return [one["id"] for one in found if one["status"] in statuses]

    def status(self, generation_id: str, key: str = ALICE) -> str:
        with self.http(key) as http:
            return str(http.get(f"/generations/{generation_id}").json()["status"])


@asynccontextmanager
async def over_http(url: str, key: str, mode: str = "auto") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def stdio(url: str, key: str) -> StdioServerParameters:
    environment = services.clean_environment() | {"EASEL_URL": url, "EASEL_KEY": key}
    return StdioServerParameters(
        command=sys.executable, args=["-m", "backend.mcp"], env=environment
    )


def connection(backend: Backend, way: str, key: str) -> AbstractAsyncContextManager[Client]:
    if way == "stdio":
        return Client(stdio(backend.url, key))
    return over_http(backend.url, key, "auto" if way == "http" else "legacy")


def photo() -> bytes:
    image = Image.linear_gradient("L").resize((320, 240)).convert("RGB")
    image.paste((200, 40, 40), (90, 60, 220, 180))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def photo_text() -> str:
    return base64.b64encode(photo()).decode()


class Told(list[tuple[float, float | None, str | None]]):
    """What an agent is told on the way to an answer: progress, of what, and words."""

    def __init__(self) -> None:
        super().__init__()
        self.draws = asyncio.Event()

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.append((progress, total, message))
        if message and message.startswith("sampling"):
            self.draws.set()
