"""The backend's API as a program uses it, over real HTTP, with pods that draw sketches."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import jsonschema
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.drawing_requests import GOOD, PNG, REQUEST
from tests.services import SHIPPED_MODES, Platform, until

SMALL = GOOD["free"]
STYLES = ["realism", "lux", "anime", "chatgpt"]


@pytest.fixture(scope="module")
def http(easel: Platform) -> Iterator[httpx.Client]:
    with easel.http() as client:
        yield client


def generate(http: httpx.Client, body: Any, accept: str = "", **headers: str) -> httpx.Response:
    headers |= {"Accept": accept} if accept else {}
    answer = http.post("/generate", json=body, headers=headers)
    assert answer.status_code == 200, answer.text[:500]
    return answer


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def same(one: bytes, other: bytes) -> bool:
    return np.array_equal(pixels(one), pixels(other))


def frames(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and data of each event of a stream."""
    found = []
    for frame in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line.partition(": ") for line in frame.splitlines() if not line.startswith(":")]
        fields = {name: value for name, _, value in lines}
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def accepted(http: httpx.Client, body: Any = SMALL) -> str:
    """Return the address of a new generation."""
    answer = http.put(f"/generations/{uuid4()}", json=body)
    assert answer.status_code == 202, answer.text
    location: str = answer.headers["location"]
    return location


def ended(http: httpx.Client, generation: str) -> dict[str, Any]:
    """Return a generation's last state."""
    name, data = frames(http.get(f"{generation}/events").text)[-1]
    assert name == "result"
    return data


# -- POST /generate ------------------------------------------------------------------------


def test_json_has_the_pictures_in_base64_and_everything_about_them(http: httpx.Client) -> None:
    found = generate(http, {**SMALL, "count": 2}).json()
    assert set(found) == {
        *("id", "status", "mode", "style", "prompt", "seed", "engine", "images", "timings"),
    }
    UUID(found["id"])
    assert (found["status"], found["mode"], found["style"]) == ("succeeded", "free", "realism")
    assert (found["prompt"], found["seed"]) == ("a red fox", 7)
    assert found["engine"].startswith("sketch")
    assert set(found["timings"]) == {"queued_ms", "model_ms", "gpu_ms", "encode_ms", "total_ms"}
    assert [image["seed"] for image in found["images"]] == [7, 8]
    for image in found["images"]:
        assert (image["width"], image["height"], image["media_type"]) == (256, 256, "image/png")
        assert pixels(base64.b64decode(image["data"])).shape == (256, 256, 3)


@pytest.mark.parametrize("mode", ["free", "restyle"])
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_picture_is_answered_in_the_type_that_is_asked_for_and_is_of_its_seed(
    http: httpx.Client, mode: str, kind: str
) -> None:
    body = GOOD[mode]
    first, again = (generate(http, body, f"image/{kind}") for _ in range(2))
    assert first.headers["content-type"] == f"image/{kind}"
    with Image.open(io.BytesIO(first.content)) as image:
        assert (image.format, image.size) == (kind.upper(), (256, 256))
    assert same(first.content, again.content)
    assert not same(first.content, generate(http, {**body, "seed": 8}, f"image/{kind}").content)


@pytest.mark.parametrize("mode", ["free", "restyle"])
def test_every_style_draws_its_own_picture(http: httpx.Client, mode: str) -> None:
    found = [generate(http, {**GOOD[mode], "style": s}, "image/png").content for s in STYLES]
    for number, one in enumerate(found):
        assert not any(same(one, other) for other in found[number + 1 :])


def test_an_event_stream_tells_what_happens_and_ends_with_the_result(http: httpx.Client) -> None:
    answer = generate(http, SMALL, "text/event-stream")
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = frames(answer.text)
    names = [name for name, _ in found]
    assert names[-1] == "result"
    assert names.count("result") == 1
    assert set(names) <= {"state", "progress", "result"}
    [image] = found[-1][1]["images"]
    assert same(base64.b64decode(image["data"]), generate(http, SMALL, "image/png").content)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("image/*", "image/png"),
        ("image/jpeg;q=0.5, image/webp;q=0.9", "image/webp"),
        ("text/html, */*;q=0.1", "application/json"),
    ],
)
def test_preferences_are_weighed(http: httpx.Client, accept: str, kind: str) -> None:
    assert generate(http, SMALL, accept).headers["content-type"] == kind


def test_a_type_that_is_not_offered_is_refused(http: httpx.Client) -> None:
    answer = http.post("/generate", json=SMALL, headers={"Accept": "image/gif"})
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == ["Accept"]


def test_a_photo_as_a_file_in_a_form_gives_the_same_picture(http: httpx.Client) -> None:
    files: Any = {"request": (None, REQUEST), "image": ("photo.png", PNG, "image/png")}
    answer = http.post("/generate", files=files, headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text[:500]
    assert same(answer.content, generate(http, GOOD["restyle"], "image/png").content)


def test_fields_of_a_form_give_the_same_picture_as_json(http: httpx.Client) -> None:
    whole = {**GOOD["restyle"], "strength": 0.25}
    fields = {name: str(value) for name, value in whole.items() if name != "image"}
    fields |= {"negative_prompt": "", "format": "png", "priority": "1", "user": "of a form"}
    photo = {"image": ("photo.png", PNG, "image/png")}
    answer = http.post("/generate", data=fields, files=photo, headers={"Accept": "image/png"})
    assert answer.status_code == 200, answer.text[:500]
    assert same(answer.content, generate(http, whole, "image/png").content)
    accepted = http.post("/generations", data={**fields, "format": "jpg"}, files=photo)
    assert accepted.status_code == 202, accepted.text
    assert accepted.json()["user"] == "of a form"
    made = http.get(f"/generations/{accepted.json()['id']}", params={"wait": 60}).json()
    assert made["images"][0]["media_type"] == "image/jpeg"
    assert made["parameters"]["strength"] == 0.25


def test_jpg_means_jpeg_wherever_a_format_is_named(http: httpx.Client) -> None:
    made = generate(http, {**SMALL, "format": "jpg"}).json()
    assert made["images"][0]["media_type"] == "image/jpeg"
    image = http.get(f"/generations/{made['id']}/images/0", params={"format": "jpg"})
    assert image.headers["content-type"] == "image/jpeg"
    body = {"model": "easel-free", "prompt": "a fox", "output_format": "jpg", "size": "256x256"}
    assert http.post("/v1/images/generations", json=body).json()["output_format"] == "jpeg"


def test_the_same_idempotency_key_gives_the_same_generation(http: httpx.Client) -> None:
    key = str(uuid4())
    body = {name: value for name, value in SMALL.items() if name != "seed"}
    first, again = (generate(http, body, **{"Idempotency-Key": key}).json() for _ in range(2))
    assert first["id"] == again["id"]
    assert first["images"] == again["images"]
    other = http.post("/generate", json=SMALL, headers={"Idempotency-Key": key})
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


# -- generations ---------------------------------------------------------------------------


def test_a_generation_is_accepted_followed_fetched_and_deleted(
    http: httpx.Client, easel: Platform
) -> None:
    number = uuid4()
    answer = http.put(f"/generations/{number}", json={**SMALL, "count": 2, "user": "anna"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/generations/{number}"
    assert answer.json()["status"] in ("queued", "running")
    last = ended(http, f"/generations/{number}")
    assert (last["status"], last["progress"], last["user"]) == ("succeeded", 1, "anna")
    assert http.get(f"/generations/{number}").json()["images"] == last["images"]
    for k, info in enumerate(last["images"]):
        image = http.get(info["url"])
        assert image.headers["content-type"] == info["media_type"] == "image/png"
        assert (info["seed"], image.headers["x-seed"]) == (7 + k, str(7 + k))
        assert pixels(image.content).shape == (256, 256, 3)
    assert any(str(number) in path for path in easel.left_behind())
    assert http.delete(f"/generations/{number}").json()["outcome"] == "deleted"
    assert http.get(last["images"][0]["url"]).status_code == 404
    until(
        lambda: not any(str(number) in path for path in easel.left_behind()),
        "its files are gone everywhere",
    )


def test_the_same_id_is_the_same_generation_and_another_body_a_conflict(
    http: httpx.Client,
) -> None:
    generation = accepted(http)
    last = ended(http, generation)
    again = http.put(generation, json=SMALL)
    assert (again.status_code, again.json()["id"]) == (200, last["id"])
    other = http.put(generation, json={**SMALL, "seed": 8})
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


def test_a_post_with_a_key_is_accepted_once(http: httpx.Client) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    first = http.post("/generations", json=SMALL, headers=headers)
    again = http.post("/generations", json=SMALL, headers=headers)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.headers["location"] == again.headers["location"]


def test_a_picture_comes_in_every_format_in_parts_and_only_once(http: httpx.Client) -> None:
    generation = accepted(http)
    ended(http, generation)
    url = f"{generation}/images/0"
    whole = http.get(url)
    for kind in ("png", "jpeg", "webp"):
        answers = [
            http.get(url, params={"format": kind}),
            http.get(url, headers={"Accept": f"image/{kind}"}),
        ]
        assert [a.headers["content-type"] for a in answers] == [f"image/{kind}"] * 2
        assert same(answers[0].content, answers[1].content)
        tags = {answer.headers["etag"] for answer in answers}
        assert len(tags) == 1
        again = http.get(url, params={"format": kind}, headers={"If-None-Match": tags.pop()})
        assert (again.status_code, again.content) == (304, b"")
    kept = http.get(url, headers={"If-None-Match": whole.headers["etag"]})
    assert (kept.status_code, kept.content) == (304, b"")
    part = http.get(url, headers={"Range": "bytes=8-15"})
    assert (part.status_code, part.content) == (206, whole.content[8:16])
    assert part.headers["content-range"] == f"bytes 8-15/{len(whole.content)}"
    beyond = http.get(url, headers={"Range": f"bytes={len(whole.content)}-"})
    assert beyond.status_code == 416


@pytest.mark.parametrize("path", ["", "/events", "/images/0"])
def test_a_generation_that_nobody_asked_for_is_not_there(http: httpx.Client, path: str) -> None:
    answer = http.get(f"/generations/{uuid4()}{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert http.delete(f"/generations/{uuid4()}").status_code == 404


def test_a_user_finds_the_newest_first_page_by_page_and_can_delete_all(http: httpx.Client) -> None:
    user = f"user {uuid4()} ü"
    made = [accepted(http, {**SMALL, "user": user, "seed": seed}) for seed in range(3)]
    for generation in made:
        ended(http, generation)
    first = http.get("/generations", params={"user": user, "limit": 2}).json()
    rest = http.get("/generations", params={"user": user, "cursor": first["next_cursor"]}).json()
    listed = [g["id"] for g in (*first["generations"], *rest["generations"])]
    assert [f"/generations/{number}" for number in listed] == made[::-1]
    assert rest["next_cursor"] is None
    found = http.delete(f"/users/{user}").json()
    assert (found["user"], found["generations"], found["images"]) == (user, 3, 3)
    assert http.get("/generations", params={"user": user}).json()["generations"] == []


# -- the platform --------------------------------------------------------------------------


def test_the_modes_are_told_with_their_schemas_and_texts(http: httpx.Client) -> None:
    found = http.get("/modes").json()
    assert [mode["name"] for mode in found] == SHIPPED_MODES
    for mode in found:
        jsonschema.Draft202012Validator.check_schema(mode["parameters"])
        assert mode["available"]
        if "prompt" in mode["parameters"]["properties"]:
            assert [style["name"] for style in mode["styles"]] == STYLES
        assert set(mode["title"]) == {"en", "ru"}


def test_the_platform_says_that_it_is_well_and_that_it_sketches(http: httpx.Client) -> None:
    assert http.get("/livez").status_code == http.get("/readyz").status_code == 200
    health = http.get("/health").json()
    assert (health["status"], health["gpu_available"]) == ("ok", True)
    assert health["engine"].startswith("sketch")
    assert {"pods", "queue", "version"} <= health.keys()
    until(lambda: http.get("/health").json()["queue"]["running"] == 0, "nothing runs")
    assert "easel_" in http.get("/metrics").text


def test_the_documentation_has_every_route_with_bodies_examples_and_errors(
    http: httpx.Client,
) -> None:
    schema = http.get("/openapi.json").json()
    assert {
        *("/generate", "/generations", "/generations/{generation_id}"),
        *("/generations/{generation_id}/events", "/generations/{generation_id}/images/{number}"),
        *("/users/{user}", "/modes", "/health", "/livez", "/readyz", "/metrics"),
        *("/v1/images/generations", "/v1/images/edits", "/v1/models"),
    } <= schema["paths"].keys()
    assert "HTTPValidationError" not in json.dumps(schema)
    taking = [
        schema["paths"]["/generate"]["post"],
        schema["paths"]["/generations"]["post"],
        schema["paths"]["/generations/{generation_id}"]["put"],
    ]
    for operation in taking:
        content = operation["requestBody"]["content"]["application/json"]
        validator = jsonschema.Draft202012Validator({**schema, **content["schema"]})
        for example in content["examples"].values():
            validator.validate(example["value"])
        for body in GOOD.values():
            validator.validate(body)
        for wrong in ({"prompt": 1}, {"style": "noir"}, {"width": 100}, {"colour": 1}):
            assert not validator.is_valid({"mode": "free", "prompt": "a", **wrong})
        assert {"409", "413", "422", "429", "503"} <= operation["responses"].keys()
    assert {"502", "504"} <= schema["paths"]["/generate"]["post"]["responses"].keys()
    assert http.get("/docs").status_code == 200
