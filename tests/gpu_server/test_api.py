"""The GPU server's API as a program uses it, over real HTTP, drawing sketches."""

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

from tests.gpu_server.pictures import samples
from tests.services import Pod, until
from workflows import catalog as workflows

SMALL: dict[str, Any] = {"prompt": "a red fox", "seed": 7, "width": 256, "height": 256}
STYLES = ["realism", "lux", "anime", "chatgpt"]
PHOTO = base64.b64encode(samples.saved(samples.halves((512, 384)), "PNG")).decode()
RESTYLE = {"mode": "restyle", "image": PHOTO, "seed": 7, "width": 256, "height": 256}


@pytest.fixture(scope="module")
def http(sketches: Pod) -> Iterator[httpx.Client]:
    with sketches.http() as client:
        yield client


def generate(http: httpx.Client, accept: str = "", **body: Any) -> httpx.Response:
    answer = http.post("/generate", json=body, headers={"Accept": accept} if accept else {})
    assert answer.status_code == 200, answer.text
    return answer


def drawn(http: httpx.Client, **body: Any) -> bytes:
    """The first picture's PNG."""
    return generate(http, "image/png", **body).content


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def difference(one: bytes, other: bytes) -> float:
    """Mean difference of two pictures, 0–255."""
    return float(np.abs(pixels(one).astype(float) - pixels(other)).mean())


def same(one: bytes, other: bytes) -> bool:
    """Whether two files hold the same pixels; times, ids and signatures in them differ."""
    return np.array_equal(pixels(one), pixels(other))


def frames(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream: name and data."""
    found = []
    for frame in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line.partition(": ") for line in frame.splitlines() if not line.startswith(":")]
        fields = {name: value for name, _, value in lines}
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


# -- what is answered ----------------------------------------------------------------------


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


# -- what is drawn -------------------------------------------------------------------------


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


# -- jobs ----------------------------------------------------------------------------------


def ended(http: httpx.Client, job: str) -> dict[str, Any]:
    """The job's last state."""
    found: dict[str, Any] = frames(http.get(f"{job}/events").text)[-1][1]
    return found


def test_a_job_is_taken_followed_fetched_and_deleted(http: httpx.Client) -> None:
    job = f"/jobs/{uuid4()}"
    answer = http.put(job, json={**SMALL, "count": 2, "format": "jpeg"})
    assert answer.status_code == 202
    assert answer.json()["status"] in ("queued", "running")
    last = ended(http, job)
    assert (last["status"], last["progress"]) == ("succeeded", 1)
    assert http.get(job).json() == last
    for number, info in enumerate(last["images"]):
        image = http.get(f"{job}/images/{number}")
        assert image.headers["content-type"] == info["media_type"] == "image/jpeg"
        assert len(image.content) == info["bytes"]
        assert info["seed"] == 7 + number
    deleted = http.delete(job)
    assert (deleted.status_code, deleted.json()["outcome"]) == (200, "deleted")
    for gone in (http.get(job), http.get(f"{job}/images/0"), http.delete(job)):
        assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


def test_a_job_is_the_same_under_the_same_id_and_another_body_is_a_conflict(
    http: httpx.Client,
) -> None:
    job = f"/jobs/{uuid4()}"
    body = {name: value for name, value in SMALL.items() if name != "seed"}
    assert http.put(job, json=body).status_code == 202
    last = ended(http, job)
    assert http.put(job, json=body).json() == last
    refused = http.put(job, json={**body, "prompt": "a blue bird"})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    http.delete(job)


def test_a_job_can_be_followed_from_the_request_that_gives_it(http: httpx.Client) -> None:
    job = f"/jobs/{uuid4()}"
    answer = http.put(job, json=SMALL, headers={"Accept": "text/event-stream"})
    assert answer.status_code == 202
    name, data = frames(answer.text)[-1]
    assert (name, data["status"]) == ("result", "succeeded")
    http.delete(job)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs/{}"),
        ("GET", "/jobs/{}/events"),
        ("GET", "/jobs/{}/images/0"),
        ("DELETE", "/jobs/{}"),
    ],
)
def test_a_job_that_nobody_gave_is_not_there(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, path.format(uuid4()))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = http.request(method, path.format("7"))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [fault["field"] for fault in answer.json()["errors"]] == ["job_id"]


@pytest.mark.parametrize("number", ["-1", "3", "99", "100", "x", "9" * 4000, "9" * 5000, "1e3"])
def test_a_picture_that_is_not_there_is_not_found(http: httpx.Client, number: str) -> None:
    job = f"/jobs/{uuid4()}"
    http.put(job, json=SMALL)
    ended(http, job)
    answer = http.get(f"{job}/images/{number}")
    assert answer.status_code in (404, 422)
    assert answer.json()["code"] in ("not_found", "invalid_request")
    http.delete(job)


# -- what the pod says of itself -----------------------------------------------------------


def test_the_modes_are_told_with_their_schemas_and_texts(http: httpx.Client) -> None:
    found = http.get("/modes").json()
    assert [mode["name"] for mode in found] == ["free", "restyle"]
    for mode in found:
        jsonschema.Draft202012Validator.check_schema(mode["parameters"])
        assert mode["available"]
        assert set(mode["title"]) == set(mode["description"]) == {"en", "ru"}
        assert [style["name"] for style in mode["styles"]] == STYLES
        assert set(mode["texts"]) == set(mode["parameters"]["properties"]) - {"style"}
        for style in mode["styles"]:
            assert style["available"]
            assert style["sizes"]["1:1"] == [1024, 1024]
            assert set(style["title"]) == {"en", "ru"}
            assert set(style["ignores"]) <= set(mode["parameters"]["properties"])


def test_the_pod_says_that_it_is_well(http: httpx.Client) -> None:
    assert http.get("/livez").json() == {"status": "ok"}
    assert http.get("/readyz").json()["ready"]
    health = http.get("/health").json()
    assert (health["status"], health["gpu_available"]) == ("ok", True)
    assert health["engine"].startswith("sketch")
    assert "easel_" in http.get("/metrics").text


def test_the_documentation_has_every_route_with_bodies_examples_and_errors(
    http: httpx.Client,
) -> None:
    schema = http.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        *("/generate", "/jobs", "/jobs/{job_id}", "/jobs/{job_id}/events"),
        *("/jobs/{job_id}/images/{number}", "/modes", "/health", "/free"),
        *("/livez", "/readyz", "/metrics"),
    }
    for path, method in (("/generate", "post"), ("/jobs/{job_id}", "put")):
        operation = schema["paths"][path][method]
        content = operation["requestBody"]["content"]
        assert set(content) == {"application/json", "multipart/form-data"}
        check_body(content["application/json"])
        assert {"409", "413", "422", "429", "503"} <= operation["responses"].keys()
    assert {"502", "504"} <= schema["paths"]["/generate"]["post"]["responses"].keys()
    images = schema["paths"]["/generate"]["post"]["responses"]["200"]["content"]
    assert {"application/json", "image/png", "text/event-stream"} <= images.keys()
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
    assert http.get("/docs").status_code == 200


def check_body(content: dict[str, Any]) -> None:
    """The body's schema takes our examples and refuses what the service refuses."""
    validator = jsonschema.Draft202012Validator(content["schema"])
    assert len(content["schema"]["oneOf"]) == len(list(workflows.load()))
    for example in content["examples"].values():
        validator.validate(example["value"])
    validator.validate({**SMALL, "mode": "free"})
    validator.validate(RESTYLE)
    for wrong in ({"prompt": 1}, {"style": "noir"}, {"width": 100}, {"colour": 1}):
        assert not validator.is_valid({"mode": "free", "prompt": "a", **wrong})


# -- traces --------------------------------------------------------------------------------


def test_nothing_is_left_on_disk_when_everybody_has_what_they_wanted(
    http: httpx.Client, sketches: Pod
) -> None:
    generate(http, **SMALL, count=2)
    generate(http, "text/event-stream", **RESTYLE)
    job = f"/jobs/{uuid4()}"
    http.put(job, json=RESTYLE)
    ended(http, job)
    http.delete(job)
    until(lambda: not sketches.left_behind(), "every file of a job is gone")
