"""A sketch engine and a GPU server that draws with it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gpu_server.servers import Comfy, Pod, engine, serving


@pytest.fixture
async def comfy(tmp_path: Path) -> AsyncIterator[Comfy]:
    async with engine(tmp_path / "comfyui") as found:
        yield found


@pytest.fixture
async def pod(comfy: Comfy, tmp_path: Path) -> AsyncIterator[Pod]:
    async with serving(comfy.url, tmp_path / "data") as found:
        yield found
