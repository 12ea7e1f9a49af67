"""Broken modes and styles beside working ones: pod and backend start, say why, and draw."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import workflows
from backend.main import create_app
from backend.settings import Settings
from tests import services

FREE = Path(workflows.__file__).parent / "free"


@pytest.fixture(scope="module")
def modes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make `poster` with a faulty style and an unused faulty graph, and `banner` with no TOML."""
    folder = tmp_path_factory.mktemp("modes")
    for name in ("poster", "banner"):
        shutil.copytree(FREE, folder / name)
    (folder / "banner" / "mode.toml").write_text("order = ")
    toml = folder / "poster" / "mode.toml"
    text = toml.read_text("utf-8").replace("[styles.lux]", "[styles.lux]\ntimeout_s = -1")
    toml.write_text(text, "utf-8")
    (folder / "poster" / "plain.json").write_text("{")
    return folder


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory, modes: Path) -> Iterator[list[str]]:
    """Run a pod and a backend with these modes; yield their addresses."""
    folder = tmp_path_factory.mktemp("services")
    with (
        services.sketch_engine(folder / "engine") as engine,
        services.gpu_server(engine, folder / "pod", easel_workflows_dir=modes) as pod,
    ):
        settings = {"easel_data_dir": folder / "backend", "backend_gpu_servers": pod}
        own = Settings.model_validate(settings | {"easel_workflows_dir": modes})
        with services.served(create_app(own)) as base:
            services.until(lambda: services.is_ready(base), "the backend is ready")
            yield [pod, base]


def get(url: str) -> Any:
    return httpx.get(url, timeout=20).json()


def test_a_broken_mode_and_a_broken_style_are_named_with_their_reasons(
    urls: list[str], modes: Path
) -> None:
    for url in urls:
        listed = get(f"{url}/modes")
        found = {mode["name"]: mode for mode in listed}
        assert not found["banner"]["available"]
        assert found["banner"]["reason"].startswith("banner/mode.toml: ")
        styles = {style["name"]: style for style in found["poster"]["styles"]}
        assert styles["realism"]["available"]
        assert not styles["lux"]["available"]
        assert "styles.lux.timeout_s" in styles["lux"]["reason"]
        assert "lux" not in found["poster"]["parameters"]["properties"]["style"]["enum"]
        broken = get(f"{url}/health")["broken_modes"]
        assert broken.keys() == {"banner", "poster:lux"}
        assert str(modes.parent) not in str((listed, broken))


def test_the_other_styles_of_the_mode_are_drawn_and_the_broken_one_is_refused(
    urls: list[str],
) -> None:
    for url in urls:
        request = {"mode": "poster", "prompt": "a fox", "width": 256, "height": 256}
        drawn = httpx.post(f"{url}/generate", json=request, timeout=60)
        assert (drawn.status_code, drawn.json()["style"]) == (200, "realism")
        refused = httpx.post(f"{url}/generate", json=request | {"style": "lux"}, timeout=60)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
        assert refused.json()["errors"][0]["field"] == "style"


def test_with_ones_own_checkpoint_a_faulty_plain_graph_takes_out_its_mode_alone(
    tmp_path: Path, modes: Path
) -> None:
    own = {"easel_workflows_dir": modes, "easel_checkpoint": "mine.safetensors"}
    settings = Settings.model_validate({"easel_data_dir": tmp_path, **own})
    with services.served(create_app(settings)) as url:
        assert get(f"{url}/health")["broken_modes"].keys() == {"banner", "poster"}
        assert [mode["name"] for mode in get(f"{url}/modes")][:2] == ["free", "restyle"]
