"""Nothing is drawn from, kept or shown that the safety checks have not passed."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import NoReturn
from uuid import uuid4

import c2pa
import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFilter

from gpu_server.safety.gate import Gate
from gpu_server.safety.guard import Guard
from gpu_server.server import create_app
from gpu_server.settings import Settings
from gpu_server.timeouts import Timeouts
from tests import services
from web.errors import EngineError, EngineLost

MODE = """
default_style = "as_it_is"
parameters = {}
[title]
en = "Ball"
ru = "Шар"
[description]
en = "A picture that lies there."
ru = "Готовая картинка."
[graphs.ball]
file = "ball.json"
model = "none"
sizes = { "1:1" = [512, 512] }
bind = { seed = "Picture.image" }
[styles.as_it_is]
title = { en = "As it is", ru = "Как есть" }
description = { en = "As it is.", ru = "Как есть." }
graph = "ball"
"""
GRAPH = {
    "1": {
        "class_type": "LoadImage",
        "inputs": {"image": "ball.png"},
        "_meta": {"title": "Picture"},
    },
    "2": {
        "class_type": "SaveImage",
        "inputs": {"images": ["1", 0], "filename_prefix": "ball"},
        "_meta": {"title": "Save"},
    },
}


def ball() -> bytes:
    """Draw two smooth shaded balls: harmless, but the detector takes them for nudity."""
    image = Image.new("RGB", (512, 512), (225, 215, 205))
    draw = ImageDraw.Draw(image)
    for step in range(180, 0, -1):
        tone = 255 - step // 2
        colour = (tone, int(tone * 0.78), int(tone * 0.66))
        for centre in (170, 342):
            draw.ellipse((centre - step, 256 - step, centre + step, 256 + step), fill=colour)
    buffer = BytesIO()
    image.filter(ImageFilter.GaussianBlur(3)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guard")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[str]:
    with services.sketch_engine(folder / "engine") as url:
        (folder / "engine" / "input" / "ball.png").write_bytes(ball())
        yield url


@pytest.fixture(scope="module")
def pod(folder: Path, engine: str) -> Iterator[str]:
    modes = folder / "modes" / "ball"
    modes.mkdir(parents=True)
    (modes / "mode.toml").write_text(MODE)
    (modes / "ball.json").write_text(json.dumps(GRAPH))
    with services.gpu_server(engine, folder / "pod", easel_workflows_dir=folder / "modes") as url:
        yield url


def kept(folder: Path) -> list[str]:
    """Return the images on disk except the one this test put there."""
    found = [
        p for p in services.files_below(folder) if p.suffix in (".png", ".ppm", ".image", ".part")
    ]
    return [str(p) for p in found if p.name not in ("ball.png", "photo.png")]


def restyle(url: str, photo: bytes) -> httpx.Response:
    return httpx.post(
        f"{url}/generate",
        data={"request": json.dumps({"mode": "restyle", "style": "lux"})},
        files={"image": ("photo.png", photo)},
        timeout=60,
    )


def test_a_photo_the_detector_refuses_is_never_drawn_from(pod: str, folder: Path) -> None:
    answer = restyle(pod, ball())
    assert answer.status_code == 422
    assert answer.json()["code"] == "content_refused"
    assert answer.json()["category"] == "nudity"
    assert not kept(folder)


def test_a_picture_the_detector_refuses_is_neither_shown_nor_kept(pod: str, folder: Path) -> None:
    job = uuid4()
    events = httpx.put(
        f"{pod}/jobs/{job}",
        json={"mode": "ball"},
        headers={"Accept": "text/event-stream"},
        params={"previews": "true"},
        timeout=60,
    ).text
    state = httpx.get(f"{pod}/jobs/{job}").json()
    assert state["status"] == "failed"
    assert state["error"]["code"] == "content_refused"
    assert state["error"]["category"] == "nudity"
    assert state["images"] == []
    assert "event: preview" not in events
    assert httpx.get(f"{pod}/jobs/{job}/images/0").status_code == 404
    services.until(lambda: not kept(folder), "the picture to be removed from the engine")


@pytest.mark.parametrize("prompt", ["a nude woman", "голая женщина", "n u d e  photo"])
def test_a_prompt_is_refused_by_the_gpu_server_itself(pod: str, prompt: str) -> None:
    asked = {"mode": "free", "prompt": prompt}
    waited = httpx.post(f"{pod}/generate", json=asked)
    queued = httpx.put(f"{pod}/jobs/{uuid4()}", json=asked)
    for answer in (waited, queued):
        assert answer.status_code == 422
        assert answer.json()["code"] == "content_refused"
        assert prompt not in answer.text


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_every_picture_says_who_made_it_and_nothing_of_the_prompt(pod: str, kind: str) -> None:
    answer = httpx.post(
        f"{pod}/generate",
        json={"prompt": "an unmistakable zebra", "width": 256, "height": 256},
        headers={"Accept": f"image/{kind}"},
        timeout=60,
    )
    with c2pa.Reader(f"image/{kind}", BytesIO(answer.content)) as reader:
        manifest = reader.json()
    assert "algorithmicMedia" in manifest
    assert "trainedAlgorithmicMedia" not in manifest
    assert b"digitalsourcetype/algorithmicMedia" in answer.content
    assert b"zebra" not in answer.content
    assert "zebra" not in manifest


class BrokenSession:
    """Stands in for onnxruntime's once that fails."""

    def run(self, *_: object) -> NoReturn:
        raise RuntimeError("Non-zero status code returned while running Conv node")


class HangingSession:
    """Stands in for an onnxruntime session that never answers."""

    def __init__(self) -> None:
        self.over = Event()

    def run(self, *_: object) -> NoReturn:
        self.over.wait()
        raise RuntimeError("too late")


def test_a_detector_that_hangs_is_waited_for_only_so_long(engine: str, folder: Path) -> None:
    data, hanging = folder / "hanging", HangingSession()
    app = create_app(Settings(comfyui_url=engine, easel_data_dir=data), Timeouts(judge_s=0.5))
    with services.served(app) as url:
        services.until(lambda: services.is_ready(url), "the GPU server is ready")
        app.state.pod.health.guard.gate._detector._session = hanging
        answer = httpx.post(f"{url}/generate", json={"prompt": "a lake"}, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (502, "engine_lost")
        ready = httpx.get(f"{url}/readyz")
        assert ready.status_code == 503
        assert "does not answer; restart" in ready.json()["checks"]["safety"]
        hanging.over.set()
    assert not kept(data)


class SenselessSession:
    """Stands in for a model whose answer makes no sense."""

    def __init__(self, answer: list[npt.NDArray[np.float32]]) -> None:
        self.answer = answer

    def run(self, *_: object) -> list[npt.NDArray[np.float32]]:
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [np.zeros(22, np.float32)],
        [np.zeros((1, 21, 2100), np.float32)],
        [np.full((1, 22, 2100), np.nan, np.float32)],
    ],
    ids=["nothing", "flat", "other labels", "no numbers"],
)
def test_an_answer_without_sense_passes_nothing(answer: list[npt.NDArray[np.float32]]) -> None:
    gate = Gate.load()
    gate._detector._session = SenselessSession(answer)
    guard = Guard(gate, None)
    with pytest.raises(EngineLost, match="out of order"):
        guard.require_decent([Image.new("RGB", (64, 64), "grey")])
    assert "restart" in guard.fault


def test_a_detector_that_breaks_is_held_against_the_server_and_not_the_user(
    engine: str, folder: Path
) -> None:
    app = create_app(Settings(comfyui_url=engine, easel_data_dir=folder / "breaking"))
    with services.served(app) as url:
        services.until(lambda: services.is_ready(url), "the GPU server is ready")
        app.state.pod.health.guard.gate._detector._session = BrokenSession()
        answer = httpx.post(f"{url}/generate", json={"prompt": "a lake"}, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (502, "engine_lost")
        assert "safety check is out of order" in answer.json()["detail"]
        ready = httpx.get(f"{url}/readyz")
        assert ready.status_code == 503
        assert "restart" in ready.json()["checks"]["safety"]
    assert not kept(folder / "breaking")


def test_a_picture_that_cannot_be_judged_is_not_shown_and_others_are() -> None:
    guard = Guard(Gate.load(), None)
    with pytest.raises(EngineError, match="could not judge"):
        guard.require_decent([Image.new("I;16", (64, 64))])
    assert not guard.fault
    guard.require_decent([Image.new("RGB", (64, 64), "grey")])


def test_without_a_signature_nothing_is_drawn(engine: str, folder: Path) -> None:
    missing = folder / "no-such-certificate.pem"
    own = Settings(
        comfyui_url=engine,
        easel_data_dir=folder / "unsigned",
        gpu_signing_certificate=missing,
        gpu_signing_key=missing,
    )
    with services.served(create_app(own)) as url:
        services.until(
            lambda: httpx.get(f"{url}/readyz").json()["checks"]["comfyui"] == "ok", "the engine"
        )
        ready = httpx.get(f"{url}/readyz")
        assert ready.status_code == 503
        assert ready.json()["checks"]["safety"] != "ok"
        answer = httpx.post(f"{url}/generate", json={"prompt": "a lake"}, timeout=60)
        assert answer.status_code == 503
        assert answer.json()["code"] == "no_gpu"
        assert str(missing) not in answer.text + ready.text
    assert not kept(folder / "unsigned")
