"""Doubled slashes open nothing that is closed, and mean nobody else's things."""

import httpx
import pytest

from tests.backend.processes import Backend

SMALL = {"mode": "tiny", "prompt": "a fox"}


@pytest.mark.parametrize(
    "path",
    ["//generations", "/generations/", "//v1//models", "/v1/models/", "//metrics", "/users//"],
)
async def test_a_key_is_needed_however_the_address_is_written(backend_url: str, path: str) -> None:
    async with httpx.AsyncClient(base_url=backend_url, follow_redirects=False) as http:
        method = "DELETE" if "users" in path else "GET"
        answer = await http.request(method, backend_url + path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        image = await http.get(
            f"{backend_url}//v1//files/8e0b3d4c-1f0a-4c8e-9d2a-0f4b5f6d7a8b/0/1/forged"
        )
        assert image.status_code == 404


async def test_an_address_joined_by_hand_draws_and_shows(
    alice: httpx.AsyncClient, backend: Backend
) -> None:
    asked = {"model": "easel-tiny", "prompt": "a fox", "response_format": "url"}
    drawn = await alice.post("/v1//images/generations", json=asked)
    assert drawn.status_code == 200, drawn.text
    link = httpx.URL(drawn.json()["data"][0]["url"])
    for path in (link.path, "/" + link.path, link.path.replace("/files/", "//files//")):
        async with httpx.AsyncClient(base_url=backend.url) as anybody:
            shown = await anybody.get(backend.url + path)
        assert shown.headers["content-type"] == "image/png"
        assert shown.headers["cross-origin-resource-policy"] == "cross-origin"
    signature = link.path.rpartition("/")[2]
    assert signature not in backend.output()


async def test_the_data_of_a_user_with_slashes_is_only_theirs(
    bob: httpx.AsyncClient, backend_url: str
) -> None:
    for user in ("a/b", "a//b"):
        await bob.post("/generate", json=SMALL | {"user": user})
    deleted = (await bob.delete(f"{backend_url}//users/a//b")).json()
    assert (deleted["user"], deleted["generations"]) == ("a//b", 1)
    left = (await bob.get("/generations", params={"user": "a/b"})).json()["generations"]
    assert len(left) == 1
