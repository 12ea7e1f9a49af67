"""A sketch engine and a GPU server that draws with it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests import services
from tests.gpu_server.engines import Comfy, engine
from tests.gpu_server.servers import Pod, serving


@pytest.fixture
async def comfy(tmp_path: Path) -> AsyncIterator[Comfy]:
    async with engine(tmp_path / "comfyui") as found:
        yield found


@pytest.fixture
async def pod(comfy: Comfy, tmp_path: Path) -> AsyncIterator[Pod]:
    async with serving(comfy.url, tmp_path / "data") as found:
        yield found


@pytest.fixture(scope="module")
def http(sketches: services.Pod) -> Iterator[httpx.Client]:
    """Yield a client of the GPU server that all tests share."""
    with sketches.http() as client:
        yield client
