"""What is drawn: seeds, styles, sizes, counts and photos, over real HTTP."""

import base64
import io
import json
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.gpu_server.answers import (
    PHOTO,
    RESTYLE,
    SMALL,
    STYLES,
    difference,
    drawn,
    generate,
    pixels,
    same,
)
from tests.gpu_server.pictures import samples


@pytest.mark.parametrize("mode", ["free", "restyle"])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_same_seed_gives_the_same_picture_and_another_seed_another(
    http: httpx.Client, mode: str, kind: str
) -> None:
    body = SMALL if mode == "free" else RESTYLE
    first, again = (generate(http, f"image/{kind}", **body).content for _ in range(2))
    assert same(first, again)
    other = generate(http, f"image/{kind}", **{**body, "seed": 8}).content
    assert difference(first, other) > 1


@pytest.mark.parametrize("body", [SMALL, RESTYLE], ids=["free", "restyle"])
def test_every_style_draws_its_own_picture(http: httpx.Client, body: dict[str, Any]) -> None:
    found = {style: drawn(http, **body, style=style) for style in STYLES}
    for style in STYLES:
        others = [found[other] for other in STYLES if other != style]
        assert all(difference(found[style], other) > 3 for other in others)


@pytest.mark.parametrize("style", STYLES)
def test_a_restyle_follows_the_photo(http: httpx.Client, style: str) -> None:
    photo = samples.halves((512, 384))
    beside = photo.transpose(Image.Transpose.ROTATE_90).resize((512, 384))
    packed = base64.b64encode(samples.saved(beside, "PNG")).decode()
    across = pixels(drawn(http, **RESTYLE, style=style, strength=1)).astype(float)
    upright = pixels(drawn(http, **{**RESTYLE, "image": packed}, style=style, strength=1))
    assert np.abs(across - upright).mean() > 3
    assert halves_differ(across, axis=0) > halves_differ(across, axis=1)
    assert halves_differ(upright.astype(float), axis=1) > halves_differ(upright.astype(float), 0)


def halves_differ(image: npt.NDArray[Any], axis: int) -> float:
    one, other = np.array_split(image, 2, axis=axis)
    return float(np.abs(one.mean(axis=(0, 1)) - other.mean(axis=(0, 1))).sum())


def test_a_photo_held_sideways_is_redrawn_upright(http: httpx.Client) -> None:
    upright = samples.saved(samples.halves((512, 384)), "PNG")
    turned = samples.halves((512, 384)).transpose(Image.Transpose.ROTATE_90)
    sideways = samples.saved(turned, "PNG", exif=samples.with_exif(6))
    body = {name: value for name, value in RESTYLE.items() if name != "image"}
    drawings = [
        drawn(http, **body, image=base64.b64encode(photo).decode()) for photo in (upright, sideways)
    ]
    assert same(*drawings)


def test_nothing_of_the_photos_file_is_in_the_picture(http: httpx.Client) -> None:
    photo = samples.saved(samples.halves((512, 384)), "JPEG", exif=samples.with_exif(1))
    for accept in ("image/png", "image/jpeg", "image/webp"):
        body = {**RESTYLE, "image": base64.b64encode(photo).decode()}
        data = generate(http, accept, **body).content
        assert b"SecretPhone" not in data
        with Image.open(io.BytesIO(data)) as image:
            assert not image.getexif().get_ifd(0x8825)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_neither_prompt_nor_graph_is_in_the_picture(http: httpx.Client, kind: str) -> None:
    data = generate(http, f"image/{kind}", **{**SMALL, "prompt": "xyzzy quux"}).content
    for word in (b"xyzzy", b"KSampler", b"class_type"):
        assert word not in data


@pytest.mark.parametrize("size", [(256, 256), (512, 256), (264, 1024), (1344, 768)])
def test_pictures_have_the_size_that_is_asked_for(
    http: httpx.Client, size: tuple[int, int]
) -> None:
    data = drawn(http, **{**SMALL, "width": size[0], "height": size[1]})
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == size


def test_without_a_size_the_style_has_its_own_and_a_photo_its_shape(http: httpx.Client) -> None:
    data = drawn(http, prompt="a fox", seed=1, style="chatgpt")
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (1024, 1024)
    data = drawn(http, mode="restyle", image=PHOTO, seed=1, style="chatgpt")
    with Image.open(io.BytesIO(data)) as image:
        assert image.width / image.height == pytest.approx(512 / 384, rel=0.02)


def test_image_k_of_a_count_is_the_picture_of_seed_plus_k(http: httpx.Client) -> None:
    several = generate(http, **SMALL, count=3).json()["images"]
    for image in several:
        alone = drawn(http, **{**SMALL, "seed": image["seed"]})
        assert same(base64.b64decode(image["data"]), alone)


def test_what_is_left_out_is_chosen_and_reported(http: httpx.Client) -> None:
    body = {**SMALL, "seed": None, "style": None, "negative_prompt": None, "count": None}
    found = generate(http, **body).json()
    assert found["style"] == "realism"
    again = drawn(http, **{**SMALL, "seed": found["seed"]})
    assert same(base64.b64decode(found["images"][0]["data"]), again)


def test_a_photo_as_a_file_in_a_form_gives_the_same_picture(http: httpx.Client) -> None:
    body = {name: value for name, value in RESTYLE.items() if name != "image"}
    answer = http.post(
        "/generate",
        data={"request": json.dumps(body)},
        files={"image": ("photo.png", base64.b64decode(PHOTO), "image/png")},
        headers={"Accept": "image/png"},
    )
    assert answer.status_code == 200
    assert same(answer.content, drawn(http, **RESTYLE))


def test_a_photo_as_base64_in_a_form_gives_the_same_picture(http: httpx.Client) -> None:
    whole = {"request": (None, json.dumps(RESTYLE))}
    parts = {
        "request": (None, json.dumps({k: v for k, v in RESTYLE.items() if k != "image"})),
        "image": (None, f"data:image/png;base64,{PHOTO}"),
    }
    for files in (whole, parts):
        answer = http.post("/generate", files=files, headers={"Accept": "image/png"})
        assert answer.status_code == 200, answer.text
        assert same(answer.content, drawn(http, **RESTYLE))
