"""Modes that come, change, break and go while a pod and a backend run: nobody restarts anything."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from backend.main import create_app
from backend.settings import Settings
from tests import services
from tests.backend.farm import WORKFLOWS

TINY = WORKFLOWS / "tiny"
MODES = ("poster", "banner", "sticker", "mural")
LONG = 30
"""Steps of a picture that is still drawn when its mode has gone: a second each, until then."""


@pytest.fixture(scope="module")
def modes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("modes")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    models = {"checkpoints": ["tiny.safetensors", "animagine-xl-4.0-opt.safetensors"]}
    with services.sketch_engine(tmp_path_factory.mktemp("engine"), models, faults=True) as url:
        yield url


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory, modes: Path, engine: str) -> Iterator[list[str]]:
    """Run a pod and a backend that watch the same folder; yield their addresses."""
    folder = tmp_path_factory.mktemp("services")
    with services.gpu_server(engine, folder / "pod", easel_workflows_dir=modes) as pod:
        settings = {"easel_data_dir": folder / "backend", "backend_gpu_servers": pod}
        settings |= {"backend_no_gpu_patience_s": 1}
        own = Settings.model_validate(settings | {"easel_workflows_dir": modes})
        with services.served(create_app(own)) as base:
            services.until(lambda: services.is_ready(base), "the backend is ready")
            yield [pod, base]


@pytest.fixture(scope="module")
def added(urls: list[str], modes: Path) -> list[str]:
    """Copy modes in while both run; return the services' addresses when they have them."""
    for name in MODES:
        shutil.copytree(TINY, modes / name)
    services.add_undrawable_mode(modes / "unfit")
    for name in MODES:
        until(urls, name, lambda mode: mode["available"])
    return urls


@dataclass(frozen=True)
class Work:
    """What was accepted of `mural` before it went: jobs of the pod, generations of the backend."""

    jobs: list[UUID]
    generations: list[UUID]


@pytest.fixture(scope="module")
def changed(added: list[str], modes: Path, engine: str) -> Work:
    """Change one mode, break another, and remove the third while it is drawn."""
    pod, base = added
    httpx.post(f"{engine}/sketch/faults", json={"fault": "slow", "seconds": 1})
    work = Work([uuid4() for _ in range(2)], [uuid4() for _ in range(4)])
    for number, one in enumerate(work.jobs):  # as many as ComfyUI holds
        put(f"{pod}/jobs/{one}", request("mural", steps=LONG, seed=number))
    for number, one in enumerate(work.generations):  # two wait on the pod, two for it
        put(f"{base}/generations/{one}", request("mural", steps=LONG, seed=number + 10))
    rewrite(modes / "banner", "maximum = 200", "maximum = 2")
    rewrite(modes / "sticker", "order = 1000", "order = ")
    shutil.rmtree(modes / "mural")
    until(added, "sticker", lambda mode: not mode["available"])
    until(added, "banner", lambda mode: steps_of(mode)["maximum"] == 2)
    until(added, "mural", lambda mode: not mode)
    assert get(f"{pod}/jobs/{work.generations[0]}")["status"] == "queued", "it began too early"
    httpx.delete(f"{engine}/sketch/faults")
    return work


def get(url: str) -> Any:
    return httpx.get(url, timeout=20).json()


def put(url: str, body: dict[str, Any]) -> None:
    answer = httpx.put(url, json=body, timeout=60)
    assert answer.status_code == 202, answer.text


def mode_of(url: str, name: str) -> Any:
    return next((mode for mode in get(f"{url}/modes") if mode["name"] == name), {})


def until(urls: list[str], name: str, condition: Callable[[Any], bool]) -> None:
    """Wait until what each service says of a mode, {} for nothing, is as it should be."""
    for url in urls:
        services.until(partial(_holds, url, name, condition), f"{name} at {url}")


def _holds(url: str, name: str, condition: Callable[[Any], bool]) -> bool:
    try:
        return condition(mode_of(url, name))
    except KeyError:  # it does not say that yet
        return False


def rewrite(folder: Path, old: str, new: str) -> None:
    toml = folder / "mode.toml"
    toml.write_text(toml.read_text("utf-8").replace(old, new), "utf-8")


def steps_of(mode: Any) -> Any:
    return mode["parameters"]["properties"]["steps"]


def request(mode: str, **values: Any) -> dict[str, Any]:
    return {"mode": mode, "prompt": "a fox", **values}


def ended(url: str) -> Any:
    services.until(lambda: get(url)["status"] in ("succeeded", "failed"), "it ends")
    return get(url)


def test_a_new_folder_becomes_a_mode_everywhere_and_is_drawn(added: list[str]) -> None:
    for url in added:
        drawn = httpx.post(f"{url}/generate", json=request("poster"), timeout=60)
        assert drawn.status_code == 200, drawn.text
        schemas = get(f"{url}/openapi.json")["components"]["schemas"]
        assert any(name.startswith("Poster") for name in schemas)
    models = get(f"{added[1]}/v1/models")["data"]
    assert "easel-poster:plain" in {model["id"] for model in models}


def test_a_mode_that_can_be_read_but_never_drawn_harms_no_other(added: list[str]) -> None:
    for url in added:
        [style] = mode_of(url, "unfit")["styles"]
        assert not style["available"]
        assert "without the photos that may be left out, it has 0 SaveImage" in style["reason"]


def test_jobs_of_a_mode_that_goes_are_drawn_to_the_end(added: list[str], changed: Work) -> None:
    for job in changed.jobs:
        assert ended(f"{added[0]}/jobs/{job}")["status"] == "succeeded"
    drawn = ended(f"{added[1]}/generations/{changed.generations[0]}")
    assert drawn["status"] == "succeeded"
    never = ended(f"{added[1]}/generations/{changed.generations[-1]}")
    assert never["error"]["code"] == "no_gpu"
    assert "no GPU server has the style 'plain' of 'mural'" in never["error"]["detail"]
    gone = httpx.post(f"{added[0]}/generate", json=request("mural"), timeout=60)
    assert (gone.status_code, gone.json()["errors"][0]["field"]) == (422, "mode")


@pytest.mark.usefixtures("changed")
def test_a_changed_limit_counts_from_then_on(added: list[str]) -> None:
    for url in added:
        refused = httpx.post(f"{url}/generate", json=request("banner", steps=3), timeout=60)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "steps")
        document = get(f"{url}/openapi.json")["components"]["schemas"]
        banner = next(document[name] for name in document if name.startswith("Banner"))
        assert banner["properties"]["steps"]["maximum"] == 2


@pytest.mark.usefixtures("changed")
def test_a_mode_that_breaks_goes_out_with_its_reason_and_comes_back_repaired(
    added: list[str], modes: Path
) -> None:
    for url in added:
        assert mode_of(url, "sticker")["reason"].startswith("sticker/mode.toml: ")
        assert "sticker" in get(f"{url}/health")["broken_modes"]
        refused = httpx.post(f"{url}/generate", json=request("sticker"), timeout=60)
        assert refused.status_code == 422
        assert mode_of(url, "free")["available"]
    rewrite(modes / "sticker", "order = ", "order = 1000")
    until(added, "sticker", lambda mode: mode["available"])
