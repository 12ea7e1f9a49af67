"""Modes with several photos, a mask, choices and transparency, without words, seed and size."""

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import openai
import pytest
from PIL import Image, ImageDraw

from backend.main import create_app
from backend.settings import Settings
from tests import services

MODES = Path(__file__).parents[2] / "modes"
RED, BLUE = (200, 30, 30), (30, 30, 200)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def half_mask(kind: str) -> bytes:
    """Make a mask that means the left half: white on black, or transparent."""
    if kind == "white":
        mask = Image.new("L", (120, 80))
        ImageDraw.Draw(mask).rectangle((0, 0, 59, 79), fill=255)
        return png(mask)
    mask = Image.new("RGBA", (120, 80), (9, 9, 9, 255))
    ImageDraw.Draw(mask).rectangle((0, 0, 59, 79), fill=(9, 9, 9, 0))
    return png(mask)


def photograph(name: str) -> bytes:
    path = distribution("scikit-image").locate_file(f"skimage/data/{name}")
    return Path(str(path)).read_bytes()


FIRST = png(Image.new("RGB", (120, 80), RED))
SECOND = png(Image.new("RGB", (50, 70), BLUE))
MASK = half_mask("white")


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Service:
    url: str
    folder: Path

    def draw(self, **fields: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/generate", json=fields, timeout=60)

    def kept_photos(self) -> list[Path]:
        """Return every file of a photo in any store: backend, pod, engine."""
        stores = ("backend/images/photos", "pod/jobs", "engine/input/easel")
        return [
            path
            for store in stores
            for path in services.files_below(self.folder / store)
            if path.suffix != ".image"
        ]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("photos")
    with (
        services.sketch_engine(folder / "engine") as engine,
        services.gpu_server(engine, folder / "pod", easel_workflows_dir=MODES) as pod,
    ):
        settings = {
            "easel_data_dir": folder / "backend",
            "backend_gpu_servers": pod,
            "easel_workflows_dir": MODES,
            "backend_rate_per_minute": 0,
        }
        with services.served(create_app(Settings.model_validate(settings))) as base:
            services.until(lambda: services.is_ready(base), "the backend is ready")
            yield Service(base, folder)


def picture(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"].startswith("image/"):
        return Image.open(io.BytesIO(answer.content))
    return Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0]["data"])))


def halves(image: Image.Image) -> tuple[Any, Any]:
    """Return the colours in the middle of the left and of the right half."""
    at = image.height // 2
    return image.getpixel((image.width // 4, at)), image.getpixel((3 * image.width // 4, at))


def as_json(service: Service, **photos: bytes) -> httpx.Response:
    return service.draw(mode="collage", **{name: text(data) for name, data in photos.items()})


def as_data_urls(service: Service, **photos: bytes) -> httpx.Response:
    urls = {name: f"data:image/png;base64,{text(data)}" for name, data in photos.items()}
    return service.draw(mode="collage", **urls)


def as_parts(service: Service, **photos: bytes) -> httpx.Response:
    fields = {"mode": "collage", "stretch": "TRUE", "method": "bilinear"}
    files = {name: (f"{name}.png", data, "image/png") for name, data in photos.items()}
    return httpx.post(f"{service.url}/generate", data=fields, files=files, timeout=60)


@pytest.mark.parametrize("sent", [as_json, as_data_urls, as_parts])
@pytest.mark.parametrize("kind", ["white", "transparent"])
def test_the_second_photo_lies_over_the_first_where_the_mask_says(
    service: Service, sent: Callable[..., httpx.Response], kind: str
) -> None:
    drawn = picture(sent(service, image=FIRST, image_2=SECOND, mask=half_mask(kind)))
    assert drawn.size == (144, 96), "the graph makes it 96 high, in the photo's shape"
    assert halves(drawn) == (BLUE, RED)


def test_a_photo_that_may_be_left_out_leaves_its_nodes_out(service: Service) -> None:
    assert halves(picture(as_json(service, image=FIRST, image_2=SECOND))) == (BLUE, BLUE)


def test_of_several_photos_only_one_may_show_a_face(service: Service) -> None:
    astronaut, man = photograph("astronaut.png"), photograph("camera.png")
    refused = as_json(service, image=astronaut, image_2=man)
    problem = refused.json()
    assert (refused.status_code, problem["code"]) == (422, "content_refused")
    assert problem["category"] == "face_swap"
    assert "a face in image and in image_2" in problem["detail"]
    picture(as_json(service, image=astronaut, image_2=photograph("coffee.png")))


def test_a_boolean_reaches_its_node(service: Service) -> None:
    photos = {"image": text(FIRST), "image_2": text(SECOND)}
    drawn = picture(service.draw(mode="collage", stretch=False, **photos))
    assert halves(drawn) == (BLUE, RED), "the second photo covers only 50 of 120 pixels"


def test_nothing_of_the_photos_stays_when_the_picture_is_there(service: Service) -> None:
    picture(as_json(service, image=FIRST, image_2=SECOND, mask=MASK))
    services.until(lambda: not service.kept_photos(), "every photo is removed")


def test_every_fault_of_such_a_request_is_named(service: Service) -> None:
    wrong = service.draw(mode="collage", method="cubic", stretch="yes", mask="%", seed=1)
    assert wrong.status_code == 422
    faults = {fault["field"]: fault for fault in wrong.json()["errors"]}
    assert faults.keys() == {"image", "image_2", "mask", "method", "stretch", "seed"}
    assert faults["method"]["allowed"] == ["nearest-exact", "lanczos", "bilinear"]
    assert faults["stretch"]["allowed"] == ["true", "false"]
    assert faults["image_2"]["message"] == "is required"


@pytest.mark.parametrize("name", ["image", "image_2", "mask"])
def test_a_photo_that_is_none_is_named_by_its_field(service: Service, name: str) -> None:
    wrong = as_json(service, **{"image": FIRST, "image_2": SECOND, "mask": MASK, name: b"no photo"})
    assert wrong.json()["code"] == "invalid_image"
    assert [fault["field"] for fault in wrong.json()["errors"]] == [name]


def test_another_second_photo_is_another_request(service: Service) -> None:
    url = f"{service.url}/generations/{uuid4()}"
    body = {"mode": "collage", "image": text(FIRST), "image_2": text(SECOND), "mask": text(MASK)}
    first = httpx.put(url, json=body)
    assert first.status_code == 202, first.text
    assert httpx.put(url, json=body).status_code in (200, 202)
    for other in ({"image_2": text(FIRST)}, {"mask": text(SECOND)}):
        assert httpx.put(url, json=body | other).status_code == 409


def test_the_modes_tell_choices_languages_and_photos(service: Service) -> None:
    modes = {mode["name"]: mode for mode in httpx.get(f"{service.url}/modes").json()}
    collage = modes["collage"]
    properties = collage["parameters"]["properties"]
    assert properties["method"]["enum"] == ["nearest-exact", "lanczos", "bilinear"]
    assert properties["stretch"] == {
        "type": "boolean",
        "title": "Stretch",
        "description": "Whether the second photo is stretched over the first.",
        "default": True,
    }
    assert collage["parameters"]["required"] == ["image", "image_2"]
    for name in ("image", "image_2", "mask"):
        assert properties[name]["contentEncoding"] == "base64"
    texts = collage["texts"]
    assert texts["image_2"]["title"]["de"] == "Zweites Foto"
    assert texts["method"]["choices"]["nearest-exact"] == {"en": "Sharp", "ru": "Чётко"}
    assert collage["title"] == {"en": "Collage", "ru": "Collage"}


def test_a_picture_keeps_its_transparent_parts(service: Service) -> None:
    photos = {"image": text(FIRST), "mask": text(MASK)}
    for kind in ("png", "webp"):
        drawn = picture(service.draw(mode="cutaway", format=kind, **photos))
        assert drawn.mode == "RGBA"
        left, right = halves(drawn)
        assert (left[3], right[3]) == (0, 255)
    accepted = httpx.post(f"{service.url}/generations", json={"mode": "cutaway", **photos}).json()
    url = f"{service.url}/generations/{accepted['id']}"
    services.until(lambda: httpx.get(url).json()["status"] == "succeeded", "it is drawn")
    webp = httpx.get(f"{url}/images/0", params={"format": "webp"})
    assert picture(webp).mode == "RGBA"
    refused = httpx.get(f"{url}/images/0", params={"format": "jpeg"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")


def test_jpeg_is_refused_for_transparent_pictures_only(service: Service) -> None:
    refused = service.draw(mode="cutaway", image=text(FIRST), mask=text(MASK), format="jpeg")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert refused.json()["errors"][0]["field"] == "format"
    assert refused.json()["errors"][0]["allowed"] == ["png", "webp"]
    jpeg = service.draw(mode="collage", image=text(FIRST), image_2=text(SECOND), format="jpeg")
    assert picture(jpeg).format == "JPEG"


def test_openai_edits_take_several_photos_and_a_mask(service: Service) -> None:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="x", max_retries=0) as client:
        edited = client.images.edit(
            model="easel-collage",
            prompt="",
            image=[("a.png", FIRST), ("b.png", SECOND)],
            mask=("m.png", half_mask("transparent")),
        )
        assert edited.data
        drawn = Image.open(io.BytesIO(base64.b64decode(edited.data[0].b64_json or "")))
        assert halves(drawn) == (BLUE, RED)
        cut = client.images.edit(
            model="easel-cutaway",
            prompt="",
            image=("a.png", FIRST),
            mask=("m.png", MASK),
            background="transparent",
        )
        assert cut.data
        assert Image.open(io.BytesIO(base64.b64decode(cut.data[0].b64_json or ""))).mode == "RGBA"
        wrong: dict[str, dict[str, Any]] = {
            "needs 2 photos": {"model": "easel-collage", "image": ("a.png", FIRST)},
            "takes no words": {
                "model": "easel-collage",
                "prompt": "a fox",
                "image": [("a.png", FIRST), ("b.png", SECOND)],
            },
            "mask: is required": {"model": "easel-cutaway", "image": ("a.png", FIRST)},
            "output_format": {
                "model": "easel-cutaway",
                "image": ("a.png", FIRST),
                "mask": ("m.png", MASK),
                "output_format": "jpeg",
            },
        }
        for said, fields in wrong.items():
            with pytest.raises(openai.BadRequestError, match=said):
                client.images.edit(**({"prompt": ""} | fields))
