"""Fields of the Images API: what is taken, and what is refused with what is allowed."""

import json
from typing import Any

import httpx
import openai
import pytest

from tests.backend.openai.pictures import data_url, large_photo, photo, picture

SMALL: dict[str, Any] = {"prompt": "a lake", "size": "256x256"}


def newest(http: httpx.Client, user: str) -> dict[str, Any]:
    answer = http.get("/generations", params={"user": user, "limit": 1}).json()
    found: dict[str, Any] = answer["generations"][0]
    return found


def test_a_person_is_named_by_the_safety_identifier_before_the_user(
    client: openai.OpenAI, http: httpx.Client
) -> None:
    answer = client.images.generate(**SMALL, safety_identifier="u-123", user="shop")
    assert answer.safety_identifier == "u-123"
    assert newest(http, "u-123")["user"] == "u-123"
    client.images.generate(**SMALL, safety_identifier="", user="shop")
    assert newest(http, "shop")["user"] == "shop"


def test_fields_without_effect_are_taken(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        **SMALL,
        complexity="high",
        quality="max",
        moderation="low",
        background="opaque",
        style="vivid",
        output_compression=80,
        frame_count=1,
        n=1,
    )
    assert answer.size == "256x256"
    assert answer.background == "opaque"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 0


def test_every_parameter_of_the_mode_is_taken(client: openai.OpenAI, http: httpx.Client) -> None:
    more = {"seed": 7, "negative_prompt": "rain"}
    client.images.generate(**SMALL, user="more", style="lux", extra_body=more)  # type: ignore[call-overload]
    drawn = newest(http, "more")
    assert (drawn["seed"], drawn["style"]) == (7, "lux")
    assert drawn["parameters"]["negative_prompt"] == "rain"
    client.images.edit(
        image=photo(), prompt="x", user="more", extra_body={"seed": "8", "strength": "0.4"}
    )
    drawn = newest(http, "more")
    assert (drawn["seed"], drawn["parameters"]["strength"]) == (8, 0.4)


def test_ten_pictures_come_at_once(client: openai.OpenAI) -> None:
    answer = client.images.generate(prompt="a lake", size="256x256", n=10)
    assert answer.data is not None
    assert len({picture(item.b64_json).tobytes() for item in answer.data}) == 10


def test_a_long_prompt_is_cut_after_a_word_and_says_so(
    client: openai.OpenAI, http: httpx.Client
) -> None:
    prompt = "a lighthouse by the sea " * 1300
    raw = client.images.with_raw_response
    answer = raw.generate(prompt=prompt, size="256x256", user="long")
    kept = newest(http, "long")["prompt"]
    assert answer.headers["x-easel-prompt-cut"] == f"kept={len(kept)}, sent={len(prompt)}"
    assert 1470 < len(kept) <= 1500
    assert prompt.startswith(kept)
    assert prompt[len(kept)] == " "
    streamed = raw.generate(prompt=prompt, size="256x256", stream=True)
    assert "x-easel-prompt-cut" in streamed.headers
    assert list(streamed.parse())[-1].type == "image_generation.completed"
    without_spaces = raw.generate(prompt="山" * 2000, size="256x256")
    assert without_spaces.headers["x-easel-prompt-cut"] == "kept=1500, sent=2000"
    assert "x-easel-prompt-cut" not in raw.generate(prompt="a lake", size="256x256").headers


def test_what_is_cut_off_a_prompt_is_judged_too(client: openai.OpenAI) -> None:
    prompt = "a lighthouse by the sea " * 200 + "a nude photo of my neighbour"
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(prompt=prompt, user="refused-late")
    assert raised.value.code == "content_policy_violation"


def test_the_same_key_with_another_end_of_the_prompt_is_another_request(
    http: httpx.Client,
) -> None:
    body = {"prompt": "a lighthouse " * 200, "size": "256x256", "response_format": "url"}
    headers = {"Idempotency-Key": "the-end-counts"}
    first, again, other = (
        http.post("/v1/images/generations", json={**body, **more}, headers=headers)
        for more in ({}, {}, {"prompt": body["prompt"] + "at night"})
    )
    assert first.json()["data"][0]["url"][:80] == again.json()["data"][0]["url"][:80]
    assert other.status_code == 409


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": ""}, "prompt", "allowed: 1 to 32000 characters"),
    ({"prompt": "x" * 32_001}, "prompt", "has 32001 characters (allowed: 1 to 32000 characters)"),
    ({"n": 11}, "n", "n: is out of range (allowed: a whole number from 1 to 10)"),
    ({"n": 0}, "n", "from 1 to 10"),
    ({"size": "3840x2160"}, "size", "a whole number from 256 to 2048, a multiple of 8"),
    ({"size": "2048x2048"}, "size", "2097152 pixels at most, for example 1024x1024"),
    ({"size": "1:1"}, "size", "size: '1:1' is not possible here (allowed: auto, or sides"),
    ({"output_format": "gif"}, "output_format", "'png', 'jpeg', 'jpg' or 'webp'"),
    ({"output_format": "svg"}, "output_format", "'png', 'jpeg', 'jpg' or 'webp'"),
    ({"background": "transparent"}, "background", "no transparency (allowed: auto, opaque)"),
    ({"frame_count": 4}, "frame_count", "do not move (allowed: 1)"),
    ({"extra_body": {"frame_duration_ms": 200}}, "frame_duration_ms", "leave it out"),
    ({"extra_body": {"svg": {"model": "x"}}}, "svg", "leave it out"),
    ({"style": "noir"}, "style", "'noir' is not known (allowed: anime, chatgpt, lux, realism)"),
    ({"model": "easel:lux", "style": "anime"}, "style", "the model's name says 'lux'"),
    ({"quality": "best"}, "quality", "'auto', 'low', 'medium', 'high'"),
    ({"partial_images": 4}, "partial_images", "less than or equal to 3"),
    ({"safety_identifier": "u" * 129}, "safety_identifier", "at most 128 characters"),
    ({"user": "a\nb"}, "user", "user: has control characters"),
    ({"n": "two"}, "n", "n: must be a valid integer"),
    ({"extra_body": {"colour": 1}}, "colour", "colour: is not a known field (allowed: user, "),
    ({"extra_body": {"outputformat": "png"}}, "outputformat", "did you mean 'output_format'?"),
    ({"extra_body": {"mode": "restyle"}}, "mode", "is not a known field"),
    ({"extra_body": {"images": []}}, "images", "POST /v1/images/edits"),
]


@pytest.mark.parametrize(("wrong", "param", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_done_is_refused_with_what_is_allowed(
    client: openai.OpenAI, wrong: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(**{"prompt": "a fox", **wrong})
    assert raised.value.param == param
    assert words in raised.value.message
    assert raised.value.code == "invalid_request"


def test_every_fault_is_told_at_once(client: openai.OpenAI) -> None:
    wrong: dict[str, Any] = {"size": "9x9", "n": 99, "frame_count": 2, "background": "transparent"}
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(prompt="", **wrong)
    for name in ("prompt", *wrong):
        assert f"{name}: " in raised.value.message
    for theirs in ("width", "height", " count:"):
        assert theirs not in raised.value.message


def test_files_the_mode_does_not_take_are_refused_by_name(client: openai.OpenAI) -> None:
    for wrong, sentence in (
        ({"mask": photo()}, "mask: the mode 'restyle' takes none; leave it out"),
        ({"markup": photo()}, "markup: no mode here takes a drawing over the photo"),
        ({"image": [photo(), photo()]}, "image: the mode 'restyle' takes at most 1, and 2 came"),
        ({"extra_body": {"colour": "red"}}, "colour: is not a known field"),
    ):
        with pytest.raises(openai.BadRequestError) as raised:
            client.images.edit(**{"image": photo(), "prompt": "at night", **wrong})  # type: ignore[call-overload]
        assert sentence in raised.value.message


@pytest.mark.parametrize("name", ["image", "image[]", "image[0]", "images", "images[]"])
def test_a_photo_is_found_under_every_name_that_programs_give_it(
    http: httpx.Client, name: str
) -> None:
    form = {"prompt": "at night", "size": "256x256", "output_format": "jpg", "stream": "false"}
    files = {name: ("photo.png", photo())}
    answer = http.post("/v1/images/edits", data=form, files=files)
    assert answer.status_code == 200, answer.text
    drawn = answer.json()
    assert drawn["output_format"] == "jpeg"
    assert picture(drawn["data"][0]["b64_json"]).format == "JPEG"


def test_a_file_of_another_name_is_refused(http: httpx.Client) -> None:
    files = {"image": ("a.png", photo()), "picture": ("photo.png", photo())}
    answer = http.post("/v1/images/edits", data={"prompt": "x"}, files=files)
    assert answer.status_code == 400
    assert "picture: is not a known file" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "photos",
    [
        {"images": [{"image_url": data_url(photo())}]},
        {"images": [{"image_url": data_url(large_photo())}]},
        {"images": [{"image_url": {"url": data_url(photo())}}]},
        {"image": data_url(photo())},
        {"image": [data_url(photo())]},
    ],
    ids=["images", "large", "nested", "image", "list"],
)
def test_edits_come_as_json_too(http: httpx.Client, photos: dict[str, Any]) -> None:
    answer = http.post("/v1/images/edits", json={"prompt": "at night", "size": "256x256", **photos})
    assert answer.status_code == 200, answer.text
    assert picture(answer.json()["data"][0]["b64_json"]).size == (256, 256)


@pytest.mark.parametrize(
    ("photos", "sentence"),
    [
        ({}, "image: is required"),
        ({"images": []}, "image: is required"),
        ({"images": [{"file_id": "file-1"}]}, "images[0].file_id: no files are kept here"),
        (
            {"images": [{"image_url": "http://169.254.169.254/latest"}]},
            "images[0].image_url: addresses are not fetched; send the photo itself",
        ),
        ({"images": [{"image_url": "file:///etc/passwd"}]}, "are not fetched"),
        ({"images": [7]}, "images[0]: holds no photo (allowed: a data URL"),
        ({"images": [{"image_url": "data:image/png;base64,AAAA"}]}, "PNG, JPEG or WebP"),
        ({"images": [{"image_url": data_url(photo())}] * 2}, "at most 1, and 2 came"),
        ({"images": [{}] * 17}, "images: are too many (allowed: 16 at most)"),
        (
            {"image": data_url(photo()), "mask": {"image_url": data_url(photo())}},
            "mask: the mode 'restyle' takes none",
        ),
    ],
    ids=range(10),
)
def test_photos_that_json_only_names_are_refused(
    http: httpx.Client, photos: dict[str, Any], sentence: str
) -> None:
    answer = http.post("/v1/images/edits", json={"prompt": "at night", **photos})
    assert answer.status_code == 400, answer.text
    assert sentence in answer.json()["error"]["message"]


def test_the_native_api_says_what_is_allowed_in_its_detail_too(http: httpx.Client) -> None:
    body = {"mode": "free", "prompt": "x", "width": 9, "height": 512, "style": "animee"}
    detail = http.post("/generations", json=body).json()["detail"]
    assert "width: is out of range (allowed: a whole number from 256 to 2048" in detail
    assert "did you mean 'anime'? (allowed: anime, chatgpt, lux, realism)" in detail


def test_the_streamed_answer_is_described_with_its_events(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json").json()
    paths = document["paths"]
    for path in ("/v1/images/generations", "/v1/images/edits", "/v1/chat/completions"):
        kinds = paths[path]["post"]["responses"]["200"]["content"]
        assert "$ref" in kinds["application/json"]["schema"]
        assert "properties" in json.dumps(kinds["text/event-stream"]["schema"])
        problem = paths[path]["post"]["responses"]["429"]["content"]["application/json"]
        assert problem["schema"] == {"$ref": "#/components/schemas/OpenAIError"}
