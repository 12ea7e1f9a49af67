"""A backend with two API keys, and clients of the SDK that reach it both ways, in both eras."""

import asyncio
import base64
import io
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx
import httpx2
import pytest
import pytest_asyncio
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from backend.main import create_app
from backend.settings import Settings
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


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("mcp")
    with (
        services.sketch_engine(folder / "engine", faults=True) as engine,
        services.gpu_server(engine, folder / "pod") as pod,
    ):
        settings = Settings.model_validate(
            {
                "easel_data_dir": folder / "backend",
                "backend_gpu_servers": pod,
                "backend_api_keys": f"alice:{ALICE},bob:{BOB}",
                "backend_rate_per_minute": 0,
                "backend_user_max_active": 8,
            }
        )
        with services.served(create_app(settings)) as url:
            services.until(lambda: services.is_ready(url), "the backend is ready")
            yield Backend(url, engine)


@pytest.fixture
def slow(backend: Backend) -> Iterator[None]:
    """Each step takes half a second, until the test is over."""
    with httpx.Client(base_url=backend.engine, trust_env=False) as engine:
        fault = {"fault": "slow", "seconds": 0.5}
        engine.post("/sketch/faults", json=fault).raise_for_status()
        yield
        engine.delete("/sketch/faults").raise_for_status()


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


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=WAYS)
async def agent(request: pytest.FixtureRequest, backend: Backend) -> AsyncIterator[Client]:
    """Connect an agent with Alice's key, in a task of its own, as the SDK demands."""
    connected: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def hold() -> None:
        async with connection(backend, request.param, ALICE) as client:
            connected.set_result(client)
            await over.wait()

    holding = asyncio.create_task(hold())
    await asyncio.wait({holding, connected}, return_when=asyncio.FIRST_COMPLETED)
    yield connected.result() if connected.done() else await holding  # type: ignore[misc]
    over.set()
    await holding


def photo() -> bytes:
    image = Image.linear_gradient("L").resize((320, 240)).convert("RGB")
    image.paste((200, 40, 40), (90, 60, 220, 180))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def photo_text() -> str:
    return base64.b64encode(photo()).decode()
