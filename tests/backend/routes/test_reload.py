"""Modes that come, change, break and go while a pod and a backend run: nobody restarts anything."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from backend.main import create_app
from backend.settings import Settings
from tests import services
from tests.backend.farm import WORKFLOWS

TINY = WORKFLOWS / "tiny"
LONG = 60
"""Steps of a picture that is still drawn when its mode has gone: a tenth of a second each."""


@pytest.fixture(scope="module")
def modes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("modes")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.sketch_engine(tmp_path_factory.mktemp("engine"), faults=True) as url:
        yield url


@pytest.fixture(scope="module")
def urls(
    tmp_path_factory: pytest.TempPathFactory, modes: Path, engine: str
) -> Iterator[list[str]]:
    """Run a pod and a backend that watch the same folder; yield their addresses."""
    folder = tmp_path_factory.mktemp("services")
    with services.gpu_server(engine, folder / "pod", easel_workflows_dir=modes) as pod:
        settings = {"easel_data_dir": folder / "backend", "backend_gpu_servers": pod}
        own = Settings.model_validate(settings | {"easel_workflows_dir": modes})
        with services.served(create_app(own)) as base:
            services.until(lambda: services.is_ready(base), "the backend is ready")
            yield [pod, base]


def get(url: str) -> Any:
    return httpx.get(url, timeout=20).json()


def mode_of(url: str, name: str) -> Any:
    return next((mode for mode in get(f"{url}/modes") if mode["name"] == name), None)


def until_available(urls: list[str], name: str) -> None:
    for url in urls:
        services.until(
            lambda url=url: (mode_of(url, name) or {}).get("available"),  # type: ignore[misc]
            f"{name} is available at {url}",
        )


def until_gone(urls: list[str], name: str) -> None:
    for url in urls:
        services.until(
            lambda url=url: not (mode_of(url, name) or {}).get("available"),  # type: ignore[misc]
            f"{name} is out of service at {url}",
        )


def add(modes: Path, name: str) -> Path:
    shutil.copytree(TINY, modes / name)
    return modes / name


def request(mode: str, **values: Any) -> dict[str, Any]:
    return {"mode": mode, "prompt": "a fox", **values}


def test_a_new_folder_becomes_a_mode_everywhere_and_is_drawn(urls: list[str], modes: Path) -> None:
    add(modes, "poster")
    until_available(urls, "poster")
    for url in urls:
        drawn = httpx.post(f"{url}/generate", json=request("poster"), timeout=60)
        assert drawn.status_code == 200, drawn.text
        schemas = get(f"{url}/openapi.json")["components"]["schemas"]
        assert any(name.startswith("Poster") for name in schemas)
    assert "easel-poster:plain" in {model["id"] for model in get(f"{urls[1]}/v1/models")["data"]}


def test_a_changed_parameter_counts_from_then_on(urls: list[str], modes: Path) -> None:
    folder = add(modes, "banner")
    until_available(urls, "banner")
    toml = folder / "mode.toml"
    toml.write_text(toml.read_text("utf-8").replace("maximum = 200", "maximum = 2"), "utf-8")
    for url in urls:
        services.until(
            lambda url=url: (  # type: ignore[misc]
                mode_of(url, "banner")["parameters"]["properties"]["steps"]["maximum"] == 2
            ),
            "the new limit is told",
        )
        refused = httpx.post(f"{url}/generate", json=request("banner", steps=3), timeout=60)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "steps")


def test_a_mode_that_breaks_goes_out_with_its_reason_and_comes_back_repaired(
    urls: list[str], modes: Path
) -> None:
    toml = add(modes, "sticker") / "mode.toml"
    until_available(urls, "sticker")
    text = toml.read_text("utf-8")
    toml.write_text("order = ", "utf-8")
    until_gone(urls, "sticker")
    for url in urls:
        assert mode_of(url, "sticker")["reason"].startswith("sticker/mode.toml: ")
        assert "sticker" in get(f"{url}/health")["broken_modes"]
        assert httpx.post(f"{url}/generate", json=request("sticker"), timeout=60).status_code == 422
        assert mode_of(url, "free")["available"]
    toml.write_text(text, "utf-8")
    until_available(urls, "sticker")


def test_running_and_queued_jobs_of_a_mode_that_goes_are_drawn_to_the_end(
    urls: list[str], modes: Path, engine: str
) -> None:
    folder = add(modes, "mural")
    until_available(urls, "mural")
    httpx.post(f"{engine}/sketch/faults/slow", json={"seconds": 0.1})
    ids = [uuid4() for _ in range(4)]  # more than ComfyUI holds: the last ones wait in the pod
    for job in ids:
        body = request("mural", steps=LONG, seed=job.int % 1000)
        assert httpx.put(f"{urls[0]}/jobs/{job}", json=body, timeout=60).status_code == 202
    shutil.rmtree(folder)
    until_gone(urls, "mural")
    assert not get(f"{urls[0]}/jobs/{ids[-1]}")["timings"]["gpu_ms"], "it began too early"
    httpx.delete(f"{engine}/sketch/faults")
    for job in ids:
        services.until(lambda job=job: _ended(f"{urls[0]}/jobs/{job}"), "it ends")  # type: ignore[misc]
        assert get(f"{urls[0]}/jobs/{job}")["status"] == "succeeded"


def _ended(url: str) -> bool:
    return get(url)["status"] in ("succeeded", "failed", "cancelled")
