"""The real services as startup.sh runs them: the demo, and services that are killed."""

import io
import json
import os
import signal
import urllib.request
import uuid

import httpx
import pytest
from PIL import Image

from infra.supervisor.status import Status
from tests.infra.supervisor.conftest import ROOT, LabHost, free_port, until
from tests.services import SHIPPED_MODES

PORTS = ("COMFYUI_PORT", "GPU_PORT", "BACKEND_PORT", "LOCAL_TELEGRAM_PORT", "BOT_METRICS_PORT")


@pytest.fixture
def backend(lab: LabHost) -> str:
    """Prepare a host with the real services and the sketch engine; return its backend's address.

    Its pictures are in a folder whose name has to be quoted in a URL.
    """
    ports = {name: str(free_port()) for name in PORTS}
    url = f"http://127.0.0.1:{ports['BACKEND_PORT']}"
    lab.environment |= ports | {
        "EASEL_SERVICE_TABLE": "",
        "EASEL_DATA_DIR": str(lab.path / "the data, größer"),
        "COMFYUI_DIR": str(lab.path / "none"),
        "GPU_MODELS_DIR": str(lab.path / "models"),
        "BACKEND_GPU_SERVERS": f"http://127.0.0.1:{ports['GPU_PORT']}",
        "BOT_BACKEND_URL": url,
    }
    return url


def test_the_demo_draws_a_picture_in_each_mode_and_leaves_the_services_running(
    lab: LabHost, backend: str
) -> None:
    pictures = [ROOT / "data" / "demo" / f"{mode}.png" for mode in SHIPPED_MODES]
    for picture in pictures:
        picture.unlink(missing_ok=True)
    demo = lab.run("demo")
    assert demo.returncode == 0, demo.stderr
    for picture in pictures:
        assert f"Saved {picture}" in demo.stdout
        with Image.open(io.BytesIO(picture.read_bytes())) as image:
            assert image.format == "PNG"
            assert min(image.size) >= 512
    assert "without an AI model" in demo.stdout
    assert "COMFYUI_URL" in demo.stdout
    assert f"{backend}/docs" in demo.stdout
    assert f"curl -sS {backend}/generate" in demo.stdout
    with urllib.request.urlopen(f"{backend}/health", timeout=10) as answer:
        assert json.load(answer)["status"]
    assert all(row.ready for row in lab.status().values())
    photo = pictures[0]
    tried = lab.path / "tried.png"
    for arguments in (
        ("restyle", "--param", f"image={photo}", "--param", "seed=3", "-o", str(tried)),
        ("free", "-o", str(tried)),
    ):
        ran = lab.run("modes", "try", *arguments)
        assert ran.returncode == 0, ran.stderr
        assert f"Saved {tried}" in ran.stdout
        Image.open(tried).verify()
        tried.unlink()
    for wrong in (("restyle",), ("free", "--param", "seed=x"), ("free", "--param", "colour=red")):
        refused = lab.run("modes", "try", *wrong)
        assert refused.returncode == 2
        assert "--param" in refused.stderr
    assert lab.run("stop").returncode == 0


def test_services_killed_at_once_come_back_and_draw_what_was_accepted_before_and_after(
    lab: LabHost, backend: str
) -> None:
    assert lab.run("start").returncode == 0
    names = ("comfyui", "gpu_server", "backend", "telegram_bot")
    killed = {name: lab.pid(name) for name in names}
    with httpx.Client(base_url=backend, trust_env=False, timeout=10) as http:

        def accept() -> str:
            url = f"/generations/{uuid.uuid4()}"
            assert http.put(url, json={"mode": "free", "prompt": "a hill"}).status_code == 202
            return url

        def drawn(url: str) -> bool:
            return str(http.get(url).json()["status"]) == "succeeded"

        before = accept()
        for pid in killed.values():
            os.kill(pid, signal.SIGKILL)
        until(lambda: all(row.ready and row.pid != killed.get(row.name) for row in rows(lab)))
        after = accept()
        until(lambda: drawn(before) and drawn(after))
    assert lab.run("stop").returncode == 0


def rows(lab: LabHost) -> list[Status]:
    return list(lab.status().values())
