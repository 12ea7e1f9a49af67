"""One request on its way through all services, each a process of its own."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.drawing_requests import GOOD
from tests.services import Platform, is_ready, platform, until

WORDS = "zebra xylophone qwertz"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
IDS = {"X-Request-ID": "journey-1", "traceparent": TRACE}
TOKEN, KEY = "gpu-token-0123456789abcdef", "backend-key-0123456789abcdef"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Run a platform with a key and a token, whose logs no other test writes."""
    folder = tmp_path_factory.mktemp("guarded")
    with platform(folder, gpu_token=TOKEN, BACKEND_API_KEYS=f"me:{KEY}") as found:
        yield found


@pytest.fixture(scope="module")
def journey(guarded: Platform) -> dict[str, Any]:
    """Draw in each mode and be refused once, under the ids above; return the JSON answers."""
    headers = {**IDS, "Authorization": f"Bearer {KEY}"}
    with guarded.http() as http:
        free = {**GOOD["free"], "prompt": WORDS, "user": "anna"}
        answers = {
            "free": drawn(guarded, http, free, headers),
            "restyle": drawn(guarded, http, GOOD["restyle"], headers),
            "refused": http.post("/generate", json={**free, "seed": WORDS}, headers=headers),
            "unknown": http.post("/generate", json=free),
        }
        url = f"/generations/{answers['free'].json()['id']}/images/0"
        picture = http.get(url, headers=headers)
    assert [a.status_code for a in answers.values()] == [200, 200, 422, 401], answers
    assert all(answers[name].headers["x-request-id"] == "journey-1" for name in list(answers)[:3])
    return {name: answer.json() for name, answer in answers.items()} | {"picture": picture.content}


def drawn(
    guarded: Platform, http: httpx.Client, body: dict[str, Any], headers: dict[str, str]
) -> httpx.Response:
    """Return the answer; ask again while a loaded machine keeps the pod out of service."""
    answer = http.post("/generate", json=body, headers=headers)
    while answer.status_code == 503:
        assert answer.json()["code"] == "no_gpu"
        until(lambda: is_ready(guarded.url), "the platform is ready again")
        answer = http.post("/generate", json=body, headers=headers)
    assert answer.status_code == 200, answer.text[:500]
    return answer


def test_the_picture_is_the_same_however_it_is_fetched(journey: dict[str, Any]) -> None:
    [image] = journey["free"]["images"]
    assert base64.b64decode(image["data"]) == journey["picture"]


def test_the_request_id_is_in_the_logs_of_every_service(
    guarded: Platform, journey: dict[str, Any]
) -> None:
    number = journey["free"]["id"]
    programs = {name: guarded.programs[name] for name in ("backend", "gpu_server")}
    # A request is logged when its answer is out, so a little after we have it.
    until(lambda: all(number in each.output() for each in programs.values()), "the logs")
    for service, program in programs.items():
        lines = [line for line in program.log() if line.get("request_id") == "journey-1"]
        assert lines, service
        assert all(line["traceparent"] == TRACE for line in lines)
        assert any(line["event"] == "request" for line in lines)
        about = [line for line in lines if number in str(line)]
        assert about, service


def test_every_log_line_has_the_known_fields(guarded: Platform, journey: dict[str, Any]) -> None:
    for service in ("backend", "gpu_server"):
        for line in guarded.programs[service].log():
            assert {"ts", "level", "service", "event"} <= line.keys(), line
            assert line["service"] == service
            assert line["level"] in ("debug", "info", "warning"), line
        assert guarded.programs[service].errors() == ""


def test_nothing_that_was_said_or_shown_or_is_secret_is_in_any_log(
    guarded: Platform, journey: dict[str, Any]
) -> None:
    until(lambda: "journey-1" in guarded.programs["backend"].output(), "the log is written")
    picture = journey["free"]["images"][0]["data"]
    for program in guarded.programs.values():
        said = program.output() + program.errors()
        for secret in (*WORDS.split(), TOKEN, KEY, picture[:60], GOOD["restyle"]["image"][:60]):
            assert secret not in said


def test_without_a_key_or_a_token_nothing_is_done(guarded: Platform) -> None:
    with guarded.http() as http:
        for method, path in (("POST", "/generate"), ("GET", "/generations"), ("GET", "/modes")):
            answer = http.request(method, path, headers={"Authorization": f"Bearer x{KEY}"})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    answer = httpx.post(f"{guarded.pod.url}/generate", json=GOOD["free"], trust_env=False)
    assert answer.status_code == 401


def test_the_pod_keeps_nothing_of_what_the_backend_has_fetched(
    guarded: Platform, journey: dict[str, Any]
) -> None:
    until(lambda: not guarded.pod.left_behind(), "the pod has forgotten the jobs")
