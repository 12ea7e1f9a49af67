"""What the drawings promise: the same brief gives the same bytes, another brief another picture."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpu_server.sketch.draw import STYLES, Brief, Control, Drawing
from gpu_server.sketch.jobs import pictures
from tests.gpu_server.sketch.comfy import Comfy, picture


def _draw(style: str = "realism", prompt: str = "a lighthouse", seed: int = 1) -> pictures.Pixels:
    return Drawing(Brief(style, prompt, seed, 160, 128)).pixels


def _difference(first: pictures.Pixels, second: pictures.Pixels) -> float:
    """Return the mean difference in brightness, from 0 to 255."""
    return float(np.abs(first.astype(np.int16) - second).mean())


@pytest.mark.parametrize("style", STYLES)
def test_the_same_brief_gives_the_same_bytes(style: str) -> None:
    assert _draw(style).tobytes() == _draw(style).tobytes()
    assert _draw(style).shape == (128, 160, 3)


@pytest.mark.parametrize("style", STYLES)
def test_another_seed_or_prompt_gives_another_picture(style: str) -> None:
    assert _difference(_draw(style, seed=1), _draw(style, seed=2)) > 5
    assert _difference(_draw(style), _draw(style, "a cat")) > 5


def test_styles_differ_from_each_other() -> None:
    drawn = [_draw(style) for style in STYLES]
    for index, first in enumerate(drawn):
        for second in drawn[index + 1 :]:
            assert _difference(first, second) > 20


@pytest.mark.parametrize("words", ["кот", "cat"])
def test_words_are_visible_in_latin_and_cyrillic(words: str) -> None:
    """Letters that the font lacks are left out, so the ink is not a row of boxes."""
    assert _ink("") == _ink("\u732b\U0001f600") == 0
    assert _ink(words) > 0.01


def _ink(words: str) -> float:
    """Return the dark share of the area for words."""
    pixels = Drawing(Brief("chatgpt", words, 1, 512, 512)).pixels
    return float((pixels[390:480, :400].mean(axis=2) < 100).mean())


@pytest.mark.parametrize("size", [(16, 16), (64, 1024), (2048, 256), (333, 77)])
@pytest.mark.parametrize("style", STYLES)
def test_any_size_can_be_drawn(style: str, size: tuple[int, int]) -> None:
    drawing = Drawing(Brief(style, "слово " * 60, 2**64 - 1, *size))
    assert drawing.pixels.shape == (size[1], size[0], 3)
    assert max(drawing.preview(0.5, 512).size) == 512


def test_previews_become_the_picture() -> None:
    drawing = Drawing(Brief("anime", "sky", 3, 256, 256))
    final = np.asarray(Image.fromarray(drawing.pixels).resize((128, 128)))
    distances = [
        _difference(np.asarray(drawing.preview(done, 128)), final) for done in (0.1, 0.5, 1.0)
    ]
    assert distances == sorted(distances, reverse=True)


def _photo() -> pictures.Picture:
    """Draw a dark house on a light ground."""
    pixels = np.full((256, 256, 3), 210, np.uint8)
    pixels[96:224, 64:192] = (60, 40, 30)
    return pictures.Picture(pixels)


def test_edges_follow_the_outline_in_the_photo() -> None:
    edges = pictures.edges(_photo(), 0.3, 0.8).pixels[:, :, 0] > 0
    assert edges[150, 60:68].any()
    assert edges[92:100, 128].any()
    assert not edges[110:210, 80:180].any()
    assert not pictures.edges(_photo(), 0.99, 0.99).pixels[:40].any()


@pytest.mark.parametrize("style", STYLES)
def test_a_stronger_control_keeps_more_of_the_photo(style: str) -> None:
    edges = pictures.edges(_photo(), 0.3, 0.8)
    contrasts = []
    for strength in (0.1, 1.0):
        control = Control(edges.pixels, edges.photo, strength)
        grey = Drawing(Brief(style, "", 5, 256, 256, control)).pixels.mean(axis=2)
        house, ground = grey[130:190, 80:176].mean(), grey[20:80].mean()
        contrasts.append(abs(house - ground))
    assert contrasts[1] > 60
    assert contrasts[1] > contrasts[0]


async def test_the_users_prompt_and_style_override_the_graphs(sketch: Comfy) -> None:
    easel = {"mode": "free", "style": "lux", "prompt": "gold"}
    async with sketch.socket("me") as socket:
        plain = await sketch.run(picture(size=128), socket, "me")
        overridden = await sketch.run(picture(size=128), socket, "me", extra_data={"easel": easel})
    first, second = [
        await sketch.view(entry["outputs"]["9"]["images"][0]) for entry in (plain, overridden)
    ]
    assert first != second
    expected = Drawing(Brief("lux", "gold", 1, 128, 128)).pixels
    assert second == pictures.ppm(expected)


async def test_a_batch_holds_different_pictures(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        entry = await sketch.run(picture(batch=3), socket, "me")
    images = entry["outputs"]["9"]["images"]
    assert [image["filename"][-10:] for image in images] == [
        "00001_.ppm",
        "00002_.ppm",
        "00003_.ppm",
    ]
    assert len({await sketch.view(image) for image in images}) == 3


async def test_a_photo_is_restyled_through_the_whole_graph(sketch: Comfy, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(_photo().pixels).save(path)
    files = {"image": ("photo.png", path.read_bytes())}
    answer = await sketch.http.post("/upload/image", files=files, data={"subfolder": "easel/x"})
    name = f"{answer.json()['subfolder']}/{answer.json()['name']}"
    graph = picture(size=256, prompt="")
    graph |= {
        "11": {"class_type": "LoadImage", "inputs": {"image": name}},
        "12": {
            "class_type": "ImageScaleToTotalPixels",
            "inputs": {"image": ["11", 0], "upscale_method": "area", "megapixels": 0.06},
        },
        "13": {
            "class_type": "Canny",
            "inputs": {"image": ["12", 0], "low_threshold": 0.3, "high_threshold": 0.7},
        },
        "14": {
            "class_type": "ControlNetLoader",
            "inputs": {"control_net_name": "canny.safetensors"},
        },
        "15": {
            "class_type": "ControlNetApplyAdvanced",
            "inputs": {
                "positive": ["6", 0],
                "negative": ["7", 0],
                "control_net": ["14", 0],
                "image": ["13", 0],
                "strength": 1.0,
                "start_percent": 0.0,
                "end_percent": 1.0,
            },
        },
    }
    graph["3"]["inputs"] |= {"positive": ["15", 0], "negative": ["15", 1]}
    async with sketch.socket("me") as socket:
        entry = await sketch.run(graph, socket, "me")
    assert entry["status"]["completed"], entry["status"]["messages"][-1]
    data = await sketch.view(entry["outputs"]["9"]["images"][0])
    pixels = np.frombuffer(data[-256 * 256 * 3 :], np.uint8).reshape(256, 256, 3)
    grey = pixels.mean(axis=2)
    assert abs(grey[130:190, 80:176].mean() - grey[20:80].mean()) > 60
