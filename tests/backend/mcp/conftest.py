"""A backend with two API keys, and an agent connected to it in each way."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
from mcp import Client

from backend.main import create_app
from backend.settings import Settings
from tests import services
from tests.backend.mcp.agents import ALICE, BOB, WAYS, Backend, connection


@pytest.fixture(scope="package")
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
def slowly(backend: Backend) -> Iterator[None]:
    """Each step takes half a second, until the test is over."""
    with httpx.Client(base_url=backend.engine, trust_env=False) as engine:
        fault = {"fault": "slow", "seconds": 0.5}
        engine.post("/sketch/faults", json=fault).raise_for_status()
        yield
        engine.delete("/sketch/faults").raise_for_status()


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
    holding.add_done_callback(lambda _: connected.cancelled() or connected.cancel())
    yield await connected
    over.set()
    await holding
