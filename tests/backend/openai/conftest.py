"""A backend whose models have further names, on a pod and an engine of its own."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from backend.main import create_app
from backend.settings import Settings
from tests import services
from tests.backend.openai.pictures import KEY


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.sketch_engine(tmp_path_factory.mktemp("engine"), faults=True) as engine:
        yield engine


@pytest.fixture(scope="module")
def url(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("openai")
    with services.gpu_server(engine, folder / "pod") as pod:
        settings = Settings.model_validate(
            {
                "easel_data_dir": folder / "backend",
                "backend_gpu_servers": pod,
                "backend_api_keys": f"shop:{KEY}",
                "backend_rate_per_minute": 0,
                "backend_model_aliases": "gpt-image-2=easel-free:lux, house-*=easel:anime",
            }
        )
        with services.served(create_app(settings)) as base:
            services.until(lambda: services.is_ready(base), "the backend is ready")
            yield base


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as made:
        yield made
