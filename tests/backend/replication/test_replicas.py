"""Two backends on one PostgreSQL: one schedules, both serve, and either may die."""

import asyncio
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psycopg
import pytest
import pytest_asyncio

from tests.backend.mcp.agents import Told, over_http
from tests.backend.processes import Backend, Farm, started, states, until
from tests.backend.storage.databases import postgres, why_no_postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")
if why_no_postgres():
    pytestmark = pytest.mark.skip(why_no_postgres())

TAKEN_OVER_S = 5.0
LEADING = '"event": "leading"'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def farm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Farm]:
    farm = Farm(tmp_path_factory.mktemp("farm"), 3)
    async with started(farm):
        await farm.up()
        yield farm


@pytest_asyncio.fixture(loop_scope="module")
async def replicas(farm: Farm, tmp_path: Path) -> AsyncIterator[tuple[Backend, Backend]]:
    """Start two replicas: the one that leads, then the other."""
    async with postgres() as database, httpx.AsyncClient(timeout=30) as http:
        pictures = (tmp_path / "pictures").as_uri()
        shared = {"backend_database_url": database, "backend_images_url": pictures}
        first = Backend(tmp_path / "a", farm.urls, **shared)
        second = Backend(tmp_path / "b", farm.urls, **shared)
        async with started(first):
            await first.up(http)
            async with started(second):
                await second.up(http)
                assert LEADING in first.output()
                assert LEADING not in second.output()
                yield first, second


async def test_either_replica_accepts_answers_and_streams(
    replicas: tuple[Backend, Backend],
) -> None:
    body = {"mode": "tiny", "prompt": "a lake", "steps": 3}
    async with httpx.AsyncClient(timeout=30) as http:
        for asked, looked in (replicas, replicas[::-1]):
            one = uuid.uuid4()
            accepted = await http.put(f"{asked.url}/generations/{one}", json=body)
            assert accepted.status_code == 202
            ended = await http.get(f"{looked.url}/generations/{one}", params={"wait": 20})
            assert ended.json()["status"] == "succeeded"
            events = (await http.get(f"{looked.url}/generations/{one}/events")).text
            assert "event: result" in events
            picture = await http.get(f"{looked.url}/generations/{one}/images/0")
            assert picture.headers["content-type"] == "image/png"
            drawn = await http.post(f"{asked.url}/generate", json=body)
            assert drawn.json()["status"] == "succeeded"
            refused = await http.post(f"{looked.url}/generate", json={"mode": "nothing"})
            assert refused.json()["code"] == "invalid_request"


async def test_an_agent_draws_at_either_replica(replicas: tuple[Backend, Backend]) -> None:
    for replica in replicas:
        for mode in ("auto", "legacy"):
            async with over_http(replica.url, "", mode) as agent:
                told, request = Told(), {"mode": "tiny", "prompt": "a lake"}
                drawn = await agent.call_tool("draw", request, progress_callback=told)
                its = {"id": drawn.structured_content["id"]}
                looked = await agent.call_tool("generation_status", its)
            assert looked.structured_content["status"] == "succeeded"
            assert told


async def test_the_request_id_is_the_same_through_both(replicas: tuple[Backend, Backend]) -> None:
    leading, other = replicas
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.get(f"{other.url}/modes", headers={"X-Request-ID": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"

    async def logged() -> bool:
        return "mine-1" in leading.output() and "mine-1" in other.output()

    await until(logged, "both to have logged it")


async def test_hanging_up_at_the_other_replica_stops_the_generation(
    farm: Farm, replicas: tuple[Backend, Backend]
) -> None:
    leading, other = replicas
    await farm.fault("slow", seconds=0.3)
    body = {"mode": "tiny", "prompt": "given up", "steps": 50, "user": "impatient"}
    async with httpx.AsyncClient(timeout=30) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post(f"{other.url}/generate", json=body, timeout=2)

        async def stopped() -> bool:
            answer = await http.get(f"{leading.url}/generations", params={"user": "impatient"})
            return [g["status"] for g in answer.json()["generations"]] == ["cancelled"]

        try:
            await until(stopped, "the generation to be cancelled", 20)
        finally:
            await farm.clear()


async def test_deleting_a_user_through_the_other_replica_deletes_nobody_else(
    replicas: tuple[Backend, Backend],
) -> None:
    leading, other = replicas
    async with httpx.AsyncClient(timeout=30) as http:
        body = {"mode": "tiny", "prompt": "a lake", "steps": 1, "user": "ann"}
        assert (await http.post(f"{leading.url}/generate", json=body)).status_code == 200
        deleted = await http.delete(f"{other.url}/users/ann%3Fx")
        assert deleted.json() == (await http.delete(f"{leading.url}/users/ann%3Fx")).json()
        kept = await http.get(f"{other.url}/generations", params={"user": "ann"})
    assert len(kept.json()["generations"]) == 1


async def test_when_the_lead_is_lost_those_who_wait_are_answered_by_the_next(
    farm: Farm, replicas: tuple[Backend, Backend]
) -> None:
    leading, other = replicas
    await farm.fault("slow", seconds=0.2)
    one = uuid.uuid4()
    body = {"mode": "tiny", "prompt": "a lake", "steps": 50}
    async with httpx.AsyncClient(timeout=60) as http:
        await http.put(f"{leading.url}/generations/{one}", json=body)
        waiting = asyncio.create_task(http.post(f"{other.url}/generate", json=body))
        followed = asyncio.create_task(http.get(f"{other.url}/generations/{one}/events"))

        async def drawing() -> bool:
            queue = (await http.get(f"{leading.url}/health")).json()["queue"]
            return bool(queue["running"] == 2)

        await until(drawing, "both to be drawn")
        database = leading.environment["BACKEND_DATABASE_URL"]
        async with await psycopg.AsyncConnection.connect(database) as operator:
            await operator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            )
        await farm.clear()
        assert "event: result" in (await followed).text
        assert (await waiting).json()["status"] == "succeeded"
        await leading.up(http)
        again = await http.get(f"{leading.url}/generations/{one}")
    assert again.json()["status"] == "succeeded"


async def test_when_the_scheduling_replica_freezes_the_other_goes_on(
    farm: Farm, replicas: tuple[Backend, Backend]
) -> None:
    leading, other = replicas
    ids = [str(uuid.uuid4()) for _ in range(12)]
    await farm.fault("slow", seconds=0.1)
    async with httpx.AsyncClient(timeout=120) as http:
        for one in ids:
            body = {"mode": "tiny", "prompt": one, "steps": 10}
            await http.put(f"{other.url}/generations/{one}", json=body)
        followed = asyncio.create_task(http.get(f"{other.url}/generations/{ids[-1]}/events"))
        leading.send(signal.SIGSTOP)
        try:
            assert "event: result" in (await followed).text
        finally:
            leading.send(signal.SIGCONT)
        assert LEADING in other.output()
        await farm.clear()

        async def all_ended() -> bool:
            found = await states(http, other.url)
            return all(found[one]["status"] == "succeeded" for one in ids)

        await until(all_ended, "all to end", 60)
        await leading.up(http)
        again = await http.get(f"{leading.url}/generations/{ids[0]}")
        assert again.json()["status"] == "succeeded"
    assert "lead_lost" in leading.output()
    asked = Counter(prompt for prompt in farm.prompts() if prompt in ids)
    assert asked == Counter(ids)


async def test_when_the_scheduling_replica_is_killed_the_other_goes_on(
    farm: Farm, replicas: tuple[Backend, Backend]
) -> None:
    leading, other = replicas
    ids = [str(uuid.uuid4()) for _ in range(60)]
    await farm.fault("slow", seconds=0.1)
    async with httpx.AsyncClient(timeout=60) as http:
        for number, one in enumerate(ids):
            body = {"mode": "tiny", "prompt": f"number {number}", "steps": 20 if number < 6 else 1}
            answer = await http.put(f"{other.url}/generations/{one}", json=body)
            assert answer.status_code == 202
        waiting = asyncio.create_task(
            http.post(f"{other.url}/generate", json={"mode": "tiny", "prompt": "waits", "steps": 1})
        )
        followed = asyncio.create_task(http.get(f"{other.url}/generations/{ids[-1]}/events"))

        async def drawing() -> bool:
            queue = (await http.get(f"{other.url}/health")).json()["queue"]
            return bool(queue["running"] >= 3 and queue["waiting"] >= 20)

        await until(drawing, "work on the pods")
        leading.kill()
        async with asyncio.timeout(TAKEN_OVER_S):
            assert (await http.get(f"{other.url}/generations/{ids[0]}")).status_code == 200
        assert LEADING in other.output()
        await farm.clear()

        async def all_ended() -> bool:
            found = await states(http, other.url)
            return all(found[one]["status"] == "succeeded" for one in ids)

        await until(all_ended, "all to end", 90, pause=0.5)
        assert (await waiting).json()["status"] == "succeeded"
        assert "event: result" in (await followed).text
    asked = Counter(prompt for prompt in farm.prompts() if prompt in ids)
    assert asked == Counter(ids)
