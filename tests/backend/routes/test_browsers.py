"""What a web page of another origin gets of the backend, in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from selenium import webdriver
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from backend.main import create_app
from backend.settings import Settings
from tests import browser as browsers
from tests.backend.conftest import ALICE
from tests.backend.processes import Backend, Farm
from tests.services import served, until

pytestmark = browsers.NEEDED
TINY = {"mode": "tiny", "prompt": "a fox"}
SHOW = """
    const [url, done] = arguments, image = new Image();
    image.onload = () => done(image.naturalWidth);
    image.onerror = () => done(0);
    image.src = url;
"""
FETCH = """
    const [url, options, done] = arguments;
    if (options.length) options.body = new Uint8Array(options.length);
    fetch(url, options).then(async (answer) => {
      const body = await answer.text();
      done({status: answer.status, headers: Object.fromEntries(answer.headers), body});
    }, (error) => done({failed: String(error)}));
"""
FOLLOW = """
    window.sources = arguments[0].map((url) => {
      const source = new EventSource(url), seen = {results: [], source};
      source.addEventListener('result', (e) => seen.results.push(JSON.parse(e.data).status));
      return seen;
    });
"""
RESULTS = "return window.sources.map((each) => each.results.length)"
CLOSED = "return window.sources.every((each) => each.source.readyState === 2)"


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Serve an empty page; its site differs from the backend's, which is called 127.0.0.1."""

    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse("<!doctype html><title>A page of another origin</title>")

    with served(Starlette(routes=[Route("/", page)])) as url:
        yield url.replace("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def page(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with browsers.opened(tmp_path_factory.mktemp("chromium")) as page:
        page.get(origin)
        yield page


@pytest.fixture(scope="module")
def allowing(
    farm: Farm, origin: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    """Run a backend that names the page's origin."""
    folder = tmp_path_factory.mktemp("allowing")
    backend = Backend(folder, farm.urls, backend_cors_origins=origin)
    backend.start()
    try:
        backend.wait_up()
        yield backend
    finally:
        backend.kill()


@pytest.fixture
def http(allowing: Backend) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=allowing.url, timeout=60, trust_env=False) as http:
        yield http


def drawn(http: httpx.Client) -> str:
    """Draw, and return the generation's address."""
    return f"/generations/{http.post('/generate', json=TINY).json()['id']}"


def fetched(page: webdriver.Chrome, url: str, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = page.execute_async_script(FETCH, url, options)
    return found


def test_a_page_shows_and_then_reads_an_image(
    page: webdriver.Chrome, allowing: Backend, http: httpx.Client
) -> None:
    url = f"{allowing.url}{drawn(http)}/images/0"
    assert page.execute_async_script(SHOW, url) == 64
    read = fetched(page, url)  # out of the cache: what was shown must not stand in the way
    assert read["status"] == 200
    assert {"etag", "x-seed", "x-request-id", "x-generation-id"} <= read["headers"].keys()


def test_a_signed_link_is_shown_by_any_page_and_nothing_else_is(
    page: webdriver.Chrome, backend: Backend
) -> None:
    """This backend names no origins."""
    with httpx.Client(base_url=backend.url, timeout=60) as alice:
        alice.headers["Authorization"] = f"Bearer {ALICE}"
        asked = {"model": "easel-tiny", "prompt": "a fox", "response_format": "url"}
        link = alice.post("/v1/images/generations", json=asked).json()["data"][0]["url"]
        number = alice.get("/generations").json()["generations"][0]["id"]
        own = alice.get(f"/generations/{number}/images/0")
    assert page.execute_async_script(SHOW, link) == 64
    assert own.headers["cross-origin-resource-policy"] == "same-site"
    assert "failed" in fetched(page, f"{backend.url}/livez")


def test_a_page_that_is_named_uses_the_whole_api(page: webdriver.Chrome, allowing: Backend) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": "page", "X-Own": "1"}
    url = f"{allowing.url}/generations"
    accepted = fetched(page, url, method="POST", headers=headers, body=json.dumps(TINY))
    assert accepted["status"] == 202
    number = json.loads(accepted["body"])["id"]
    assert accepted["headers"]["location"] == f"/generations/{number}"
    own = fetched(page, f"{url}/{uuid4()}/", method="PUT", body=json.dumps(TINY), headers=headers)
    assert own["status"] == 202
    assert fetched(page, f"{url}/{number}", method="DELETE")["status"] == 200


def test_a_page_that_is_named_reads_every_error(page: webdriver.Chrome, allowing: Backend) -> None:
    url = allowing.url
    post = {"method": "POST", "headers": {"Content-Type": "application/json"}}
    cases = [
        (404, fetched(page, f"{url}/nowhere")),
        (404, fetched(page, f"{url}/generations/{uuid4()}")),
        (405, fetched(page, f"{url}/generate")),
        (413, fetched(page, f"{url}/generate", **post, length=31_000_000)),
        (422, fetched(page, f"{url}/generate", **post, body="{")),
        (400, fetched(page, f"{url}/v1/images/generations", **post, body='{"n": 99}')),
    ]
    for status, found in cases:
        assert found["status"] == status
        assert "code" in found["body"]
        assert "x-request-id" in found["headers"]


def test_a_page_that_is_named_reads_that_its_key_is_wrong(
    page: webdriver.Chrome, origin: str, tmp_path: Path
) -> None:
    settings = Settings(
        easel_data_dir=tmp_path,
        backend_api_keys="page:a-key-of-a-web-page",
        backend_cors_origins=[origin, "https://other.example"],
        backend_gpu_servers=["http://127.0.0.1:9"],
    )
    with served(create_app(settings)) as url:
        wrong = {"Authorization": "Bearer wrong"}
        found = fetched(page, f"{url}/generations", headers=wrong)
        bare = httpx.get(f"{url}/generations", headers={"Origin": origin, **wrong})
    assert (found["status"], json.loads(found["body"])["code"]) == (401, "unauthorized")
    assert bare.headers["www-authenticate"] == "Bearer"
    exposed = bare.headers["access-control-expose-headers"].split(", ")
    assert {"Location", "Retry-After", "ETag", "X-Request-ID", "X-Seed"} <= {*exposed}
    assert bare.headers["access-control-allow-origin"] == origin


def test_an_event_source_ends_by_itself(
    page: webdriver.Chrome, allowing: Backend, http: httpx.Client
) -> None:
    new = f"/generations/{uuid4()}"
    http.put(new, json=TINY | {"steps": 3})
    finished, soon_deleted, deleted = (drawn(http) for _ in range(3))
    http.delete(deleted)
    unknown = f"/generations/{uuid4()}"
    paths = [f"{each}/events" for each in (new, finished, soon_deleted, deleted, unknown)]
    page.execute_script(FOLLOW, [allowing.url + path for path in paths])
    until(lambda: page.execute_script(RESULTS) == [1, 1, 1, 0, 0], "each result")
    http.delete(soon_deleted)
    until(lambda: page.execute_script(CLOSED), "the browser to reconnect and stop")
    assert page.execute_script(RESULTS) == [1, 1, 1, 0, 0]
    assert [answered(allowing, path) for path in paths] == [[200, 204]] * 3 + [[404]] * 2


def answered(backend: Backend, path: str) -> list[int]:
    """Return how the requests for a path were answered, by the backend's log."""
    lines = [json.loads(line) for line in backend.output().splitlines() if path in line]
    return [line["status"] for line in lines if line["event"] == "request"]
