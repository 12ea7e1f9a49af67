"""The demo with the real services: the first thing a newcomer runs."""

import io
import json
import urllib.request

from PIL import Image

from tests.infra.conftest import ROOT, LabHost, free_port


def test_the_demo_draws_a_picture_in_each_mode_and_leaves_the_services_running(
    lab: LabHost,
) -> None:
    ports = {
        name: str(free_port())
        for name in ("COMFYUI_PORT", "GPU_PORT", "BACKEND_PORT", "LOCAL_TELEGRAM_PORT")
    }
    backend = f"http://127.0.0.1:{ports['BACKEND_PORT']}"
    lab.environment |= ports | {
        "EASEL_SERVICE_TABLE": "",
        "COMFYUI_DIR": str(lab.path / "none"),
        "GPU_MODELS_DIR": str(lab.path / "models"),
        "BACKEND_GPU_SERVERS": f"http://127.0.0.1:{ports['GPU_PORT']}",
        "BOT_BACKEND_URL": backend,
    }
    pictures = [ROOT / "data" / "demo" / f"{mode}.png" for mode in ("free", "restyle")]
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
    assert lab.run("stop").returncode == 0
