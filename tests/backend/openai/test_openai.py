"""OpenAI's Images API, driven by the official client."""

import io

import httpx
import openai
import pytest
from PIL import Image

from tests.backend.openai.pictures import KEY, photo, picture


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


def test_by_default_pictures_come_in_base64_and_as_links(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a lake", size="256x256", n=2)
    assert answer.data is not None
    for item in answer.data:
        assert item.url is not None
        assert Image.open(io.BytesIO(httpx.get(item.url).content)) == picture(item.b64_json)
    in_base64 = client.images.generate(prompt="a lake", response_format="b64_json")
    assert in_base64.data is not None
    assert in_base64.data[0].url is None


def test_a_url_works_without_a_key_and_cannot_be_altered(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a lake", size="256x256", response_format="url")
    assert answer.data is not None
    address = answer.data[0].url
    assert address is not None
    assert answer.data[0].b64_json is None
    got = httpx.get(address)
    assert got.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(got.content)).size == (256, 256)
    assert httpx.get(address[:-1] + ("0" if address[-1] != "0" else "1")).status_code == 404
    moved = address.replace("/0/", "/1/")
    assert httpx.get(moved).status_code == 404


@pytest.mark.parametrize("wanted", [0, 1, 3])
def test_as_many_partial_pictures_as_wanted_come_before_the_whole_one(
    client: openai.OpenAI, wanted: int
) -> None:
    drawn = list(
        client.images.generate(
            prompt="a mountain", stream=True, partial_images=wanted, size="512x512"
        )
    )
    edited = list(
        client.images.edit(
            image=("photo.png", photo()), prompt="at dawn", stream=True, partial_images=wanted
        )
    )
    for events, kind in ((drawn, "image_generation"), (edited, "image_edit")):
        assert [event.type for event in events] == [
            *[f"{kind}.partial_image"] * wanted,
            f"{kind}.completed",
        ]
        numbers = [event.partial_image_index for event in events[:-1]]  # type: ignore[union-attr]
        assert numbers == list(range(wanted))
        assert all(picture(event.b64_json).format == "PNG" for event in events)
    assert picture(drawn[-1].b64_json).size == (512, 512)


def test_a_photo_is_redrawn(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        model="easel-restyle:lux", image=("photo.png", photo()), prompt="at night"
    )
    assert answer.data is not None
    drawn = picture(answer.data[0].b64_json)
    assert drawn.width / drawn.height == pytest.approx(320 / 240, abs=0.05)


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
