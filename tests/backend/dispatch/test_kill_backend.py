"""The backend is killed in the middle of much work; nothing is lost, nothing drawn twice."""

import asyncio
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.backend.processes import Backend, Farm, started, states, until
from tests.backend.storage.databases import postgres, why_no_postgres

PODS = 10
RUNNING = 20
QUEUED = 60
STEPS = 50
SLOW_S = 0.1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def farm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Farm]:
    farm = Farm(tmp_path_factory.mktemp("farm"), PODS)
    async with started(farm):
        await farm.up()
        yield farm


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield ""
        return
    if why_no_postgres():
        pytest.skip(why_no_postgres())
    async with postgres() as url:
        yield url


@pytest.mark.asyncio(loop_scope="module")
async def test_a_killed_backend_loses_no_generation_and_draws_none_twice(
    farm: Farm, database: str, tmp_path: Path
) -> None:
    backend = Backend(tmp_path, farm.urls, backend_database_url=database)
    ids = [str(uuid.uuid4()) for _ in range(RUNNING + QUEUED)]
    async with started(backend), httpx.AsyncClient(timeout=30) as http:
        await backend.up(http)
        await farm.fault("slow", seconds=SLOW_S)
        for batch in [list(enumerate(ids))[n : n + 20] for n in range(0, len(ids), 20)]:
            await asyncio.gather(*(_put(http, backend.url, *each) for each in batch))

        async def queue() -> dict[str, int]:
            return dict((await http.get(f"{backend.url}/health")).json()["queue"])

        async def busy() -> bool:
            return (await queue())["running"] >= RUNNING

        async def ended() -> dict[str, dict[str, Any]] | None:
            found = await states(http, backend.url)
            over = all(one["status"] in ("succeeded", "failed") for one in found.values())
            return found if over else None

        await until(busy, "20 generations on pods")
        backend.kill()
        asked_before = await _asked(farm, ids)
        backend.start()
        await backend.up(http)
        await farm.clear()
        assert set(await states(http, backend.url)) == set(ids)
        found = await until(ended, "all to end", pause=0.3)
        assert {one["status"] for one in found.values()} == {"succeeded"}
        first, last = await asyncio.gather(
            *(http.get(f"{backend.url}/generations/{one}/images/0") for one in (ids[0], ids[-1]))
        )
        assert first.content.startswith(b"\x89PNG")
        assert last.content.startswith(b"\x89PNG")
    assert len(asked_before) >= PODS
    assert await _asked(farm, ids) == Counter(ids)
    assert "Traceback" not in backend.output()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_backend_stopped_in_good_order_cancels_nothing_that_is_waited_for(
    farm: Farm, database: str, tmp_path: Path
) -> None:
    backend = Backend(tmp_path, farm.urls, backend_database_url=database)
    body = {"mode": "tiny", "prompt": "a lake", "steps": STEPS}
    async with started(backend), httpx.AsyncClient(timeout=30) as http:
        await backend.up(http)
        await farm.fault("slow", seconds=SLOW_S)
        accept = {"accept": "text/event-stream"}
        waiting = asyncio.create_task(http.post(f"{backend.url}/generate", json=body))
        streaming = http.post(f"{backend.url}/generate", json=body, headers=accept)
        following = asyncio.create_task(streaming)

        async def running() -> bool:
            queue = (await http.get(f"{backend.url}/health")).json()["queue"]
            return bool(queue["running"] == 2)

        await until(running, "both to be drawn")
        backend.send(signal.SIGTERM)
        await asyncio.to_thread(backend.wait, 30)
        told = await waiting
        assert (told.status_code, told.json()["code"]) == (503, "no_gpu")
        assert "event: result" not in (await following).text
        backend.start()
        await backend.up(http)
        await farm.clear()

        async def ended() -> list[str] | None:
            newest = await http.get(f"{backend.url}/generations", params={"limit": 2})
            found = newest.json()["generations"]
            well = all(one["status"] == "succeeded" for one in found)
            return [one["id"] for one in found] if well else None

        ids = await until(ended, "both to end well")
    assert len(ids) == 2
    assert await _asked(farm, ids) == Counter(ids)


async def _put(http: httpx.AsyncClient, url: str, number: int, one: str) -> None:
    body = {
        "mode": "tiny",
        "prompt": f"number {number}",
        "steps": STEPS if number < RUNNING else 1,
        "user": f"user {number % 11}",
    }
    answer = await http.put(f"{url}/generations/{one}", json=body)
    assert answer.status_code == 202, answer.text


async def _asked(farm: Farm, ids: list[str]) -> Counter[str]:
    """Count the times each was given to an engine, including repeats by a GPU server."""
    known = {one: one for one in ids}
    for one in ids:
        known |= {str(uuid.uuid5(uuid.UUID(one), f"attempt {n}")): one for n in (1, 2)}
    return Counter(known[prompt] for prompt in farm.prompts() if prompt in known)
