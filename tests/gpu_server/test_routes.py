"""The other routes, over real HTTP: jobs, the pod itself, its documentation; and no traces."""

from typing import Any
from uuid import uuid4

import httpx
import jsonschema
import pytest

from tests.gpu_server.answers import (
    RESTYLE,
    SMALL,
    STYLES,
    ended,
    frames,
    generate,
)
from tests.services import SHIPPED_MODES, Pod, until
from workflows import catalog as workflows


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


def test_a_job_can_be_followed_from_the_request_that_submits_it(http: httpx.Client) -> None:
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
def test_an_unknown_job_is_not_found(http: httpx.Client, method: str, path: str) -> None:
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


def test_modes_come_with_their_schemas_and_texts(http: httpx.Client) -> None:
    found = http.get("/modes").json()
    assert [mode["name"] for mode in found] == SHIPPED_MODES
    for mode in found:
        jsonschema.Draft202012Validator.check_schema(mode["parameters"])
        assert mode["available"]
        assert set(mode["title"]) == set(mode["description"]) == {"en", "ru"}
        is_of_words = "prompt" in mode["parameters"]["properties"]
        if is_of_words:
            assert [style["name"] for style in mode["styles"]] == STYLES
        assert set(mode["texts"]) == set(mode["parameters"]["properties"]) - {"style"}
        for style in mode["styles"]:
            assert style["available"]
            assert style["sizes"].get("1:1") == ([1024, 1024] if is_of_words else None)
            assert set(style["title"]) == {"en", "ru"}
            assert set(style["ignores"]) <= set(mode["parameters"]["properties"])


def test_a_pod_in_order_says_so(http: httpx.Client) -> None:
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
        check_body(schema, content["application/json"])
        assert {"409", "413", "422", "429", "503"} <= operation["responses"].keys()
    assert {"502", "504"} <= schema["paths"]["/generate"]["post"]["responses"].keys()
    images = schema["paths"]["/generate"]["post"]["responses"]["200"]["content"]
    assert {"application/json", "image/png", "text/event-stream"} <= images.keys()
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
    assert http.get("/docs").status_code == 200


def check_body(document: dict[str, Any], content: dict[str, Any]) -> None:
    """Check that the body's schema accepts our examples and refuses what the service refuses."""
    validator = jsonschema.Draft202012Validator({**document, **content["schema"]})
    modes = document["components"]["schemas"]["JobRequest"]
    assert modes["discriminator"]["mapping"].keys() == {mode.name for mode in workflows.load()}
    assert [each["$ref"] for each in modes["oneOf"]] == [
        *modes["discriminator"]["mapping"].values()
    ]
    for example in content["examples"].values():
        validator.validate(example["value"])
    validator.validate({**SMALL, "mode": "free"})
    validator.validate(RESTYLE)
    for wrong in ({"prompt": 1}, {"style": "noir"}, {"width": 100}, {"colour": 1}):
        assert not validator.is_valid({"mode": "free", "prompt": "a", **wrong})


def test_nothing_is_left_on_disk_after_every_request_was_served(
    http: httpx.Client, sketches: Pod
) -> None:
    generate(http, **SMALL, count=2)
    generate(http, "text/event-stream", **RESTYLE)
    job = f"/jobs/{uuid4()}"
    http.put(job, json=RESTYLE)
    ended(http, job)
    http.delete(job)
    until(lambda: not sketches.left_behind(), "every file of a job is gone")
