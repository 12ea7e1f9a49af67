"""OpenAI's Images API, driven by the official client."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from PIL import Image

from backend.main import create_app
from backend.settings import Settings
from tests import services

KEY = "a-key-for-the-tests-of-openai"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("openai")
    with (
        services.sketch_engine(folder / "engine") as engine,
        services.gpu_server(engine, folder / "pod") as pod,
    ):
        settings = Settings.model_validate(
            {
                "easel_data_dir": folder / "backend",
                "backend_gpu_servers": pod,
                "backend_api_keys": f"shop:{KEY}",
                "backend_rate_per_minute": 0,
            }
        )
        with services.served(create_app(settings)) as base:
            services.until(lambda: services.is_ready(base), "the backend is ready")
            yield base


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


def picture(data: str | None) -> Image.Image:
    assert data
    return Image.open(io.BytesIO(base64.b64decode(data)))


def photo() -> bytes:
    image = Image.linear_gradient("L").resize((320, 240)).convert("RGB")
    image.paste((200, 40, 40), (90, 60, 220, 180))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_the_models_are_modes_and_their_styles(client: openai.OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert {"easel-free", "easel-restyle", "easel-free:anime", "easel-restyle:lux"} <= set(ids)
    assert client.models.retrieve("easel-free:lux").id == "easel-free:lux"


def test_pictures_come_in_the_size_and_number_asked_for(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        model="easel-free:anime", prompt="a red fox", n=2, size="512x512", quality="high"
    )
    assert answer.data is not None
    pictures = [picture(item.b64_json) for item in answer.data]
    assert [image.size for image in pictures] == [(512, 512)] * 2
    assert pictures[0].tobytes() != pictures[1].tobytes()
    assert answer.size == "512x512"


@pytest.mark.parametrize(
    ("output_format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")]
)
def test_the_output_format_is_that_asked_for(
    client: openai.OpenAI, output_format: str, kind: str
) -> None:
    answer = client.images.generate(
        prompt="a lake", size="256x256", extra_body={"output_format": output_format}
    )
    assert answer.data is not None
    assert picture(answer.data[0].b64_json).format == kind


def test_a_url_works_without_a_key_and_cannot_be_altered(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a lake", size="256x256", response_format="url")
    assert answer.data is not None
    address = answer.data[0].url
    assert address is not None
    got = httpx.get(address)
    assert got.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(got.content)).size == (256, 256)
    assert httpx.get(address[:-1] + ("0" if address[-1] != "0" else "1")).status_code == 404
    moved = address.replace("/0/", "/1/")
    assert httpx.get(moved).status_code == 404


def test_partial_pictures_are_streamed_before_the_whole_one(client: openai.OpenAI) -> None:
    events = list(
        client.images.generate(prompt="a mountain", stream=True, partial_images=2, size="512x512")
    )
    kinds = [event.type for event in events]
    assert kinds[-1] == "image_generation.completed"
    assert set(kinds[:-1]) <= {"image_generation.partial_image"}
    assert len(kinds) <= 3
    assert picture(events[-1].b64_json).size == (512, 512)


def test_a_photo_is_redrawn(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        model="easel-restyle:lux", image=("photo.png", photo()), prompt="at night"
    )
    assert answer.data is not None
    drawn = picture(answer.data[0].b64_json)
    assert drawn.width / drawn.height == pytest.approx(320 / 240, abs=0.05)


def test_a_streamed_edit_shows_nothing_of_the_photo_before_its_end(client: openai.OpenAI) -> None:
    events = list(
        client.images.edit(
            image=("photo.png", photo()), prompt="at dawn", stream=True, partial_images=3
        )
    )
    assert [event.type for event in events] == ["image_edit.completed"]


async def test_the_asynchronous_client_works_too(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        answer = await client.images.generate(prompt="a lake", size="256x256")
    assert answer.data is not None
    assert picture(answer.data[0].b64_json).size == (256, 256)


def test_the_same_seed_gives_the_same_picture(client: openai.OpenAI) -> None:
    drawn = [
        client.images.generate(prompt="a lake", size="256x256", extra_body={"seed": 7}).data
        for _ in range(2)
    ]
    first, second = (picture(data[0].b64_json).tobytes() for data in drawn if data)
    assert first == second


REFUSED = [
    ({"prompt": "x", "model": "dall-e-3"}, openai.NotFoundError, "model_not_found", "model"),
    ({"prompt": ""}, openai.BadRequestError, "invalid_request", "prompt"),
    ({"prompt": "x", "size": "8x8"}, openai.BadRequestError, "invalid_request", "size"),
    ({"prompt": "x", "size": "64x64"}, openai.BadRequestError, "invalid_request", "size"),
    ({"prompt": "x", "n": 99}, openai.BadRequestError, "invalid_request", "n"),
    (
        {"prompt": "x", "extra_body": {"colour": 1}},
        openai.BadRequestError,
        "invalid_request",
        "colour",
    ),
    (
        {"prompt": "a nude photo of my neighbour"},
        openai.BadRequestError,
        "content_policy_violation",
        None,
    ),
]


@pytest.mark.parametrize(("arguments", "error", "code", "param"), REFUSED)
def test_a_refusal_has_openai_shape(
    client: openai.OpenAI,
    arguments: dict[str, object],
    error: type[openai.APIStatusError],
    code: str,
    param: str | None,
) -> None:
    with pytest.raises(error) as raised:
        client.images.generate(**arguments)  # type: ignore[call-overload]
    assert raised.value.code == code
    assert raised.value.param == param


def test_a_host_header_that_is_not_ours_decides_no_address(url: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "Host": "evil.example"}
    drawing = {"prompt": "a lake", "size": "256x256", "response_format": "url"}
    answer = httpx.post(f"{url}/v1/images/generations", json=drawing, headers=headers, timeout=60)
    address = answer.json()["data"][0]["url"]
    assert address.startswith(f"{url}/v1/files/")
    assert httpx.get(address).status_code == 200
    moved = httpx.get(f"{url}/livez/", headers={"Host": "evil.example"})
    assert moved.headers.get("location", url).startswith(url)


def test_a_wrong_key_is_an_authentication_error(url: str) -> None:
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as raised,
    ):
        client.images.generate(prompt="a lake")
    assert raised.value.code == "invalid_api_key"


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\nbroken"])
def test_an_edit_of_what_is_no_picture_is_refused(client: openai.OpenAI, data: bytes) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.edit(image=("photo.png", data), prompt="at night")
    assert raised.value.code in ("invalid_image", "invalid_request")


def test_a_mask_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="mask"):
        client.images.edit(
            image=("photo.png", photo()), mask=("mask.png", photo()), prompt="at night"
        )
