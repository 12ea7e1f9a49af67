"""A pod and a backend with two API keys and narrow limits, shared by the tests of a run."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.backend.processes import Backend, Farm

ALICE = "alice-secret-0123456789"
BOB = "bob-secret-0123456789-b"
PERSON_HEADER = "X-Person"


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    farm = Farm(tmp_path_factory.mktemp("farm"), 1)
    farm.start()
    try:
        asyncio.run(farm.up())
        yield farm
    finally:
        farm.kill()


@pytest.fixture(scope="session")
def backend(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    backend = Backend(
        tmp_path_factory.mktemp("backend"),
        farm.urls,
        backend_api_keys=f"alice:{ALICE},bob:{BOB}",
        backend_user_max_active=3,
        backend_rate_per_minute=6,
        backend_daily_images=10,
        backend_max_queue=8,
        backend_user_header=PERSON_HEADER,
    )
    backend.start()
    try:
        backend.wait_up()
        yield backend
    finally:
        backend.kill()


@pytest.fixture
def backend_url(backend: Backend) -> str:
    return backend.url


@pytest.fixture
async def alice(backend: Backend) -> AsyncIterator[httpx.AsyncClient]:
    async with client(backend.url, ALICE) as http:
        yield http


@pytest.fixture
async def bob(backend: Backend) -> AsyncIterator[httpx.AsyncClient]:
    async with client(backend.url, BOB) as http:
        yield http


@pytest.fixture
async def slow(farm: Farm) -> AsyncIterator[None]:
    """Each step takes a second, until the test is over."""
    await farm.fault("slow", seconds=1)
    yield
    await farm.clear()


def client(url: str, key: str = "") -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=60)
