"""The modes that change no words into pictures: a photo becomes larger, or is cut out."""

import base64
import io
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from gpu_server.sketch.graphs.definitions import configured_models
from tests import services


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("photos")
    with (
        services.sketch_engine(folder / "engine", configured_models()) as engine,
        services.gpu_server(engine, folder / "pod") as pod,
    ):
        services.until(lambda: services.is_ready(pod), "the pod is ready")
        yield pod


def photograph(name: str, size: tuple[int, int]) -> Image.Image:
    path = distribution("scikit-image").locate_file(f"skimage/data/{name}")
    return Image.open(Path(str(path))).convert("RGB").resize(size)


def drawn(url: str, photo: Image.Image, mode: str, **values: Any) -> httpx.Response:
    data = io.BytesIO()
    photo.save(data, "PNG")
    image = base64.b64encode(data.getvalue()).decode()
    return httpx.post(f"{url}/generate", json={"mode": mode, "image": image, **values}, timeout=60)


def picture(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0]["data"])))


@pytest.mark.parametrize(("scale", "size"), [(None, (240, 160)), (3, (360, 240)), (4, (480, 320))])
def test_a_photo_becomes_larger_and_stays_what_it_is(
    url: str, scale: int | None, size: tuple[int, int]
) -> None:
    photo = photograph("coffee.png", (120, 80))
    larger = picture(drawn(url, photo, "upscale", **({"scale": scale} if scale else {})))
    assert (larger.size, larger.mode) == (size, "RGB")
    difference = np.abs(np.asarray(larger.resize(photo.size), int) - np.asarray(photo, int))
    assert difference.mean() < 6


def test_what_is_cut_out_keeps_its_pixels_and_the_rest_is_transparent(url: str) -> None:
    photo = photograph("coffee.png", (300, 200))
    cut = picture(drawn(url, photo, "cutout"))
    assert (cut.size, cut.mode) == (photo.size, "RGBA")
    alpha = np.asarray(cut.getchannel("A"))
    assert alpha[0, 0] == 0
    assert alpha[100, 150] == 255
    assert 0.05 < (alpha > 128).mean() < 0.8
    assert (np.asarray(cut.convert("RGB"))[alpha == 255] == np.asarray(photo)[alpha == 255]).all()


@pytest.mark.parametrize("side", [16, 4000])
def test_a_plain_photo_without_a_subject_is_cut_out_too(url: str, side: int) -> None:
    cut = picture(drawn(url, Image.new("RGB", (side, 16), "teal"), "cutout"))
    assert cut.mode == "RGBA"


@pytest.mark.parametrize(
    ("mode", "values", "field"),
    [
        ("cutout", {"format": "jpeg"}, "format"),
        ("cutout", {"prompt": "a fox"}, "prompt"),
        ("cutout", {"seed": 1}, "seed"),
        ("upscale", {"scale": 5}, "scale"),
        ("upscale", {"scale": 2.5}, "scale"),
        ("upscale", {"width": 2000}, "width"),
    ],
)
def test_what_such_a_mode_does_not_take_is_named(
    url: str, mode: str, values: dict[str, Any], field: str
) -> None:
    refused = drawn(url, photograph("coffee.png", (120, 80)), mode, **values)
    assert refused.status_code == 422
    assert [fault["field"] for fault in refused.json()["errors"]] == [field]


def test_a_photo_is_needed(url: str) -> None:
    for mode in ("upscale", "cutout"):
        refused = httpx.post(f"{url}/generate", json={"mode": mode})
        assert [fault["field"] for fault in refused.json()["errors"]] == ["image"]
