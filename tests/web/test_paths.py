"""Addresses as people write them: doubled slashes, a slash at the end, nothing at all."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

from tests.services import served
from tests.web.test_edge import exchange
from web import edge
from web.api import front_page


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = FastAPI(title="Thing", description="Makes <things>.", version="1.2")
    edge.install(app, max_body=1000, verbatim="/names/")
    front_page.add(app, {"/docs": "to read & try", "/things": "what there is"})
    app.get("/things")(lambda: "things")
    app.post("/things")(lambda: "made")
    app.get("/names/{name:path}")(lambda name: name)
    app.router.routes.append(Mount("/inner", PlainTextResponse("inner")))
    with served(app) as url:
        yield url


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("path", ["//things", "///things", "/things/", "//things//", "/things//"])
def test_slashes_too_many_are_forgiven_without_a_redirect(url: str, path: str) -> None:
    for method, said in (("GET", b'"things"'), ("POST", b'"made"')):
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
        answer = exchange(url, head.encode() + b"Connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(said)


@pytest.mark.parametrize("path", ["/inner", "/inner/", "//inner"])
def test_what_is_mounted_answers_with_and_without_a_slash(
    http: httpx.Client, url: str, path: str
) -> None:
    assert http.get(f"{url}{path}").text == "inner"


@pytest.mark.parametrize("path", ["/nothing", "/nothing/", "//nothing//x", "/thing", "/things/x"])
def test_what_is_not_there_is_not_found(http: httpx.Client, url: str, path: str) -> None:
    assert http.get(f"{url}{path}").json()["code"] == "not_found"


def test_a_wrong_method_behind_a_slash_is_told_the_right_ones(http: httpx.Client) -> None:
    answer = http.delete("/things/")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize("path", ["//things", "//v1//files//a/0/1", "/things//", "//names//a"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"},
    ],
    ids=str,
)
def test_slashes_let_in_no_page_that_is_not_let_in_without(
    http: httpx.Client, url: str, path: str, headers: dict[str, str]
) -> None:
    assert http.get(f"{url}{path}", headers=headers).status_code == 403


@pytest.mark.parametrize("name", ["a//b", "/a", "a/", "a///"])
def test_slashes_count_in_a_name_that_is_the_callers(
    http: httpx.Client, url: str, name: str
) -> None:
    assert http.get(f"/names/{name}").json() == name
    assert http.get(f"{url}//names/{name}").json() == name


def test_the_front_page_is_a_page_for_a_browser_and_a_text_for_others(
    http: httpx.Client, url: str
) -> None:
    browsers = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
    page = http.get("/", headers={"Accept": browsers})
    assert page.headers["content-type"].startswith("text/html")
    assert '<a href="docs">/docs</a>' in page.text
    assert "Makes &lt;things&gt;." in page.text
    text = http.get("/")
    assert text.headers["content-type"].startswith("text/plain")
    assert "/things" in text.text
    assert "Thing 1.2" in text.text
    found = http.get(f"{url}//", headers={"Accept": "application/json"}).json()
    assert found["addresses"]["/docs"] == "to read & try"
    assert (found["name"], found["version"]) == ("Thing", "1.2")
    assert http.head("/").status_code == 200
    assert http.head("/").headers["vary"] == page.headers["vary"] == "Accept"
