"""The sketch engine on a real uvicorn, or the ComfyUI at COMFYUI_URL."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from gpu_server.sketch import create_app, running
from tests.gpu_server.sketch.comfy import MODELS, Comfy

_TIMEOUT_S = 30


@pytest.fixture
async def sketch(tmp_path: Path) -> AsyncIterator[Comfy]:
    """Run a sketch engine with faults and its folders under `tmp_path`."""
    app = create_app(tmp_path, MODELS, faults=True)
    async with (
        running(app) as url,
        httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S) as http,
    ):
        yield Comfy(url, http)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def comfy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Comfy]:
    """Connect to the ComfyUI at COMFYUI_URL, or run a sketch engine shared by the module."""
    url = os.environ.get("COMFYUI_URL")
    if url:
        async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S) as http:
            yield Comfy(url, http)
        return
    async with (
        running(create_app(tmp_path_factory.mktemp("sketch"), MODELS)) as own,
        httpx.AsyncClient(base_url=own, timeout=_TIMEOUT_S) as http,
    ):
        yield Comfy(own, http)


@pytest.fixture
def is_real() -> bool:
    """Whether the tests talk to a real ComfyUI, which has its own files and models."""
    return "COMFYUI_URL" in os.environ
