"""PostgreSQL goes away under a busy backend.

Callers get an error, nothing is lost, and work continues by itself.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from tests.backend.processes import Backend, Farm, started, states, until
from tests.backend.storage.databases import Postgres, postgres_server, why_no_postgres
from tests.gpu_server.comfy.fault_proxy import fault_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")
if why_no_postgres():
    pytestmark = pytest.mark.skip(why_no_postgres())

BODY = {"mode": "tiny", "prompt": "a lake"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def farm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Farm]:
    farm = Farm(tmp_path_factory.mktemp("farm"), 2)
    async with started(farm):
        await farm.up()
        yield farm


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database() -> AsyncIterator[Postgres]:
    async with postgres_server() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def backend(farm: Farm, database: Postgres, tmp_path: Path) -> AsyncIterator[Backend]:
    backend = Backend(tmp_path, farm.urls, backend_database_url=database.url)
    async with started(backend):
        backend_up = httpx.AsyncClient(timeout=30)
        async with backend_up as http:
            await backend.up(http)
        yield backend
        assert "Traceback" not in backend.output()


@pytest_asyncio.fixture(loop_scope="module")
async def http(backend: Backend) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=backend.url, timeout=60) as http:
        yield http


async def test_while_the_database_is_away_callers_are_told_and_afterwards_all_goes_on(
    farm: Farm, database: Postgres, backend: Backend, http: httpx.AsyncClient
) -> None:
    finished = (await http.post("/generate", json=BODY)).json()["id"]
    ids = await _busy(farm, http)
    waiting = asyncio.create_task(_insisting(http))
    following = asyncio.create_task(_followed(http, ids[0]))
    await database.stop()

    async def says_so() -> bool:
        answer = await http.get("/readyz")
        return answer.status_code == 503 and "database" in answer.json()["checks"]

    await until(says_so, "the backend to notice")
    for method, path in (
        ("GET", f"/generations/{finished}"),
        ("GET", f"/generations/{finished}/images/0"),
        ("GET", f"/generations/{ids[0]}/events"),
        ("GET", "/generations"),
        ("PUT", f"/generations/{uuid.uuid4()}"),
        ("POST", "/generations"),
        ("POST", "/generate"),
        ("DELETE", f"/generations/{ids[-1]}"),
    ):
        answer = await http.request(method, path, json=BODY if method[0] == "P" else None)
        assert answer.status_code == 503, (method, path)
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) >= 1
        assert "database" in answer.json()["detail"]
    assert (await http.get("/livez")).status_code == 200
    health = await http.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "down")
    await farm.clear()
    await database.start()
    await _all_succeed(http, [*ids, finished])
    picture = await http.get(f"/generations/{finished}/images/0")
    assert picture.content.startswith(b"\x89PNG")
    waited = await waiting
    await following
    assert await _drawn(farm, [*ids, waited, finished]) == Counter([*ids, waited, finished])


async def test_cut_connections_to_the_database_lose_and_repeat_nothing(
    farm: Farm, database: Postgres, http: httpx.AsyncClient
) -> None:
    ids = await _busy(farm, http)
    for _ in range(3):
        await database.cut_connections()
        ids.append(str(uuid.uuid4()))
        await _put(http, ids[-1])
    await farm.clear()
    await _all_succeed(http, ids)
    assert await _drawn(farm, ids) == Counter(ids)


async def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_repeated(
    farm: Farm, database: Postgres, tmp_path: Path
) -> None:
    async with fault_proxy(database.url) as (proxy, url):
        through = urlsplit(database.url)._replace(netloc=f"easel@{urlsplit(url).netloc}").geturl()
        backend = Backend(tmp_path, farm.urls, backend_database_url=through)
        async with (
            started(backend),
            httpx.AsyncClient(base_url=backend.url, timeout=60) as http,
        ):
            await backend.up(http)

            async def unsure() -> str | None:
                """Return an id whose acceptance was committed while its answer was lost."""
                one, proxy.lose_commits = str(uuid.uuid4()), 1
                answer = await http.put(f"/generations/{one}", json=BODY)
                return one if answer.status_code == 200 else None

            one = await until(unsure, "the answer to an acceptance to be lost", pause=0.5)
            proxy.lose_commits = 2  # of its pod, and of its end

            async def succeeded() -> bool:
                answer = await http.get(f"/generations/{one}")
                assert answer.status_code in (200, 503), answer.text
                return bool(answer.json()["status"] == "succeeded")

            await until(succeeded, "it to end well")
            assert not proxy.lose_commits
            picture = await http.get(f"/generations/{one}/images/0")
            assert picture.content.startswith(b"\x89PNG")
    assert await _drawn(farm, [one]) == Counter([one])


async def _busy(farm: Farm, http: httpx.AsyncClient) -> list[str]:
    """Start generations until some are on pods and some are queued; the first is slow."""
    await farm.fault("slow", seconds=0.3)
    ids = [str(uuid.uuid4()) for _ in range(10)]
    for number, one in enumerate(ids):
        await _put(http, one, steps=50 if number < 2 else 1, user=f"user {number}")

    async def both() -> bool:
        queue = (await http.get("/health")).json()["queue"]
        return bool(queue["running"] >= 2 and queue["waiting"] >= 2)

    await until(both, "some on pods and some in line")
    return ids


async def _put(http: httpx.AsyncClient, one: str, **more: Any) -> None:
    """Repeat the request until it is accepted, as a client does."""

    async def accepted() -> bool:
        answer = await http.put(f"/generations/{one}", json={**BODY, **more})
        assert answer.status_code in (200, 202, 503), answer.text
        return answer.status_code != 503

    await until(accepted, "it to be accepted")


async def _insisting(http: httpx.AsyncClient) -> str:
    """Ask under one key until the image is there; return the generation's id."""

    async def drawn() -> str | None:
        body = {**BODY, "user": "patient"}
        answer = await http.post("/generate", json=body, headers={"Idempotency-Key": "once"})
        assert answer.status_code in (200, 503), answer.text
        return str(answer.json()["id"]) if answer.status_code == 200 else None

    return await until(drawn, "the picture")


async def _followed(http: httpx.AsyncClient, one: str) -> None:
    """Read its events, asking again until there is a result."""

    async def to_the_end() -> bool:
        answer = await http.get(f"/generations/{one}/events")
        assert answer.status_code in (200, 503), answer.text
        return "event: result" in answer.text

    await until(to_the_end, "the result")


async def _all_succeed(http: httpx.AsyncClient, ids: list[str]) -> None:
    async def ended() -> bool:
        if (await http.get("/readyz")).status_code != 200:
            return False
        found = await states(http, "")
        return all(found[one]["status"] == "succeeded" for one in ids)

    await until(ended, "all to end well")


async def _drawn(farm: Farm, ids: list[str]) -> Counter[str]:
    return Counter(prompt for prompt in farm.prompts() if prompt in ids)
