"""What `POST /generate` answers, over real HTTP: JSON, images and events."""

import base64
import io
from uuid import UUID

import httpx
import pytest
from PIL import Image

from tests.gpu_server.answers import (
    SMALL,
    drawn,
    frames,
    generate,
    pixels,
    same,
)


def test_json_has_the_pictures_in_base64_and_everything_about_them(http: httpx.Client) -> None:
    answer = generate(http, **SMALL, count=2)
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert set(found) == {
        *("id", "status", "mode", "style", "prompt", "seed", "engine", "images", "timings"),
    }
    UUID(found["id"])
    assert (found["status"], found["mode"], found["style"]) == ("succeeded", "free", "realism")
    assert (found["prompt"], found["seed"]) == ("a red fox", 7)
    assert found["engine"].startswith("sketch")
    assert set(found["timings"]) == {"queued_ms", "model_ms", "gpu_ms", "encode_ms", "total_ms"}
    assert found["timings"]["total_ms"] > 0
    assert [image["seed"] for image in found["images"]] == [7, 8]
    for image in found["images"]:
        assert (image["width"], image["height"], image["media_type"]) == (256, 256, "image/png")
        assert pixels(base64.b64decode(image["data"])).shape == (256, 256, 3)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_picture_is_answered_in_the_type_that_is_asked_for(http: httpx.Client, kind: str) -> None:
    answer = generate(http, f"image/{kind}", **SMALL)
    assert answer.headers["content-type"] == f"image/{kind}"
    assert answer.headers["x-seed"] == "7"
    UUID(answer.headers["x-generation-id"])
    with Image.open(io.BytesIO(answer.content)) as image:
        assert (image.format, image.size) == (kind.upper(), (256, 256))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_format_in_the_request_is_that_of_the_pictures_in_json(
    http: httpx.Client, kind: str
) -> None:
    [image] = generate(http, **SMALL, format=kind).json()["images"]
    assert image["media_type"] == f"image/{kind}"
    data = base64.b64decode(image["data"])
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.format == kind.upper()
    assert same(data, generate(http, f"image/{kind}", **SMALL).content)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("image/*", "image/png"),
        ("image/jpeg;q=0.5, image/webp;q=0.9", "image/webp"),
        ("application/json;q=0.1, image/png;q=0", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
    ],
)
def test_preferences_are_weighed(http: httpx.Client, accept: str, kind: str) -> None:
    assert generate(http, accept, **SMALL).headers["content-type"] == kind


def test_a_type_that_is_not_offered_is_refused_and_nothing_is_drawn(http: httpx.Client) -> None:
    answer = http.post("/generate", json=SMALL, headers={"Accept": "image/gif"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    [fault] = answer.json()["errors"]
    assert fault["field"] == "Accept"
    assert "image/webp" in fault["allowed"]


def test_an_event_stream_tells_what_happens_and_ends_with_the_result(http: httpx.Client) -> None:
    answer = generate(http, "text/event-stream", **SMALL)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = frames(answer.text)
    names = [name for name, _ in found]
    assert names[0] == "state"
    assert names.count("result") == 1
    assert names[-1] == "result"
    steps = [data["progress"] for name, data in found if name == "progress"]
    assert steps == sorted(steps)
    [image] = found[-1][1]["images"]
    assert same(base64.b64decode(image["data"]), drawn(http, **SMALL))


def test_previews_come_only_when_asked_for(http: httpx.Client) -> None:
    answer = generate(http, "text/event-stream", **SMALL)
    assert "preview" not in {name for name, _ in frames(answer.text)}


def test_the_request_id_comes_back_on_every_kind_of_answer(http: httpx.Client) -> None:
    for accept in ("application/json", "image/jpeg", "text/event-stream"):
        headers = {"Accept": accept, "X-Request-ID": "mine-1"}
        answer = http.post("/generate", json=SMALL, headers=headers)
        assert answer.headers["x-request-id"] == "mine-1"
