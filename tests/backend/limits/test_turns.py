"""Callers who wait for the pictures wait for their turn too, instead of being refused."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest

from backend.dispatch.active import ActiveGeneration
from backend.dispatch.turns import MAX_PHOTO_BYTES, Turns, Waiter
from tests.backend.conftest import client
from tests.backend.dispatch.test_dispatcher import new_row
from tests.backend.processes import Backend, Farm, started, until

QUEUE, MOST = 40, 2
WAITING = "waiting for your other generations"


@pytest.fixture(scope="module")
def patient(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    backend = Backend(
        tmp_path_factory.mktemp("patient"),
        farm.urls,
        backend_user_max_active=MOST,
        backend_max_queue=QUEUE,
    )
    backend.start()
    try:
        backend.wait_up()
        yield backend
    finally:
        backend.kill()


@pytest.fixture
async def http(patient: Backend) -> AsyncIterator[httpx.AsyncClient]:
    async with client(patient.url) as made:
        yield made
        for name in ("busy", "other"):  # whatever a test left behind
            await made.delete(f"/users/{name}")


def body(user: str, **more: Any) -> dict[str, Any]:
    return {"mode": "tiny", "user": user, **more}


async def waiting(http: httpx.AsyncClient) -> int:
    text = (await http.get("/metrics")).text
    return int(float(text.split("\neasel_requests_waiting ")[1].split()[0]))


@contextlib.asynccontextmanager
async def callers(
    http: httpx.AsyncClient, number: int, user: str = "busy", before: int = 0, **fields: Any
) -> AsyncIterator[list[asyncio.Task[httpx.Response]]]:
    """Have this many callers ask for pictures of one user; all but MOST wait for their turn."""
    request = body(user, **fields)
    tasks = [asyncio.create_task(http.post("/generate", json=request)) for _ in range(number)]
    try:

        async def all_wait() -> bool:
            return await waiting(http) == before + number - MOST

        await until(all_wait, "the callers to wait for their turn", pause=0.02)
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_sixteen_calls_at_once_of_openais_client_all_succeed(patient: Backend) -> None:
    base = f"{patient.url}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key="none", max_retries=0) as made:
        calls = [
            made.images.generate(model="easel-tiny", prompt=f"picture {n}", user="busy")
            for n in range(16)
        ]
        answers = await asyncio.gather(*calls)
    assert all(answer.data and answer.data[0].b64_json for answer in answers)


@pytest.mark.usefixtures("slow")
async def test_who_does_not_wait_is_refused_and_delays_nobody_else(
    http: httpx.AsyncClient,
) -> None:
    async with callers(http, 6, steps=20):
        refused = await http.post("/generations", json=body("busy"))
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        another = await http.post("/generations", json=body("other", steps=20))
        assert another.status_code == 202, "the line is the user's own"
        assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.usefixtures("slow")
async def test_the_queue_counts_those_who_wait_and_no_user_fills_it_alone(
    http: httpx.AsyncClient,
) -> None:
    async def is_refused(user: str) -> bool:
        answers = [await http.post(path, json=body(user)) for path in ("/generate", "/generations")]
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)
        return [answer.json()["code"] for answer in answers] == ["queue_full"] * 2

    async with callers(http, QUEUE // 2, steps=20):
        assert await is_refused("busy"), "half of the queue stays for others"
        async with callers(http, QUEUE // 2, "other", before=QUEUE // 2 - MOST, steps=20):
            assert await is_refused("third")


async def test_hanging_up_ends_the_wait_and_nothing_of_it_is_drawn(
    http: httpx.AsyncClient, farm: Farm
) -> None:
    await farm.fault("slow", seconds=1)
    try:
        async with callers(http, 5, "leaving", steps=20) as tasks:
            for task in tasks[MOST + 1 :]:
                task.cancel()

            async def one_waits() -> bool:
                return await waiting(http) == 1

            await until(one_waits, "those who hung up to be gone", pause=0.02)
            await farm.clear()
            done = await asyncio.gather(*tasks[: MOST + 1])
            assert [answer.status_code for answer in done] == [200] * (MOST + 1)
    finally:
        await farm.clear()
    listed = (await http.get("/generations", params={"user": "leaving"})).json()["generations"]
    assert {one["id"] for one in listed} == {answer.json()["id"] for answer in done}


@pytest.mark.usefixtures("slow")
async def test_a_stream_lives_while_its_caller_waits_and_can_be_cancelled(
    http: httpx.AsyncClient,
) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    async with (
        callers(http, MOST, steps=50),
        http.stream(
            "POST", "/generate", json=body("busy"), headers={"Accept": "text/event-stream"}
        ) as stream,
    ):
        assert stream.status_code == 200
        name = ""
        async for line in stream.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                events.append((name, json.loads(value)))
                if len(events) == 1:  # its id is good for what the id of an accepted one is
                    path = f"/generations/{events[0][1]['id']}"
                    assert (await http.get(path)).json()["stage"] == WAITING
                    assert (await http.delete(path)).json()["outcome"] == "cancelled"
    assert (events[0][0], events[0][1]["status"]) == ("state", "queued")
    assert events[0][1]["stage"] == WAITING
    assert (events[-1][0], events[-1][1]["status"]) == ("result", "cancelled")


@pytest.mark.usefixtures("slow")
async def test_the_same_key_waits_for_the_same_picture(http: httpx.AsyncClient, farm: Farm) -> None:
    headers = {"Idempotency-Key": "one picture, please"}
    async with callers(http, MOST, steps=20) as tasks:
        request = body("busy", prompt="one")
        twins = [
            asyncio.create_task(http.post("/generate", json=request, headers=headers))
            for _ in range(3)
        ]

        async def one_waits() -> bool:
            return await waiting(http) == 1

        await until(one_waits, "the one to wait", pause=0.02)
        other = await http.post("/generate", json=body("busy", prompt="2"), headers=headers)
        assert (other.status_code, other.json()["code"]) == (409, "conflict")
        await farm.clear()
        answers = await asyncio.gather(*twins, *tasks)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers[:3]}) == 1


@pytest.mark.usefixtures("slow")
async def test_a_request_that_is_wrong_is_told_at_once(http: httpx.AsyncClient) -> None:
    async with callers(http, MOST, steps=50):
        wrong = await http.post("/generate", json=body("busy", steps=0))
        assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_request")


def test_photos_that_wait_are_bounded_by_their_bytes() -> None:
    turns = Turns()
    large = {"image": bytes(MAX_PHOTO_BYTES // 10)}
    actives = [ActiveGeneration(new_row()) for _ in range(10)]
    for active in actives:
        assert turns.has_room_for(large)
        turns.join(Waiter(active, large))
    assert not turns.has_room_for({"mask": b"1"})
    assert turns.has_room_for({}), "those without a photo may wait"
    turns.leave(actives[0])
    turns.leave(actives[0])
    assert turns.has_room_for(large)
    assert len(turns) == 9


async def test_a_kill_loses_nothing_accepted_and_forgets_those_who_waited(
    farm: Farm, tmp_path_factory: pytest.TempPathFactory
) -> None:
    backend = Backend(tmp_path_factory.mktemp("killed"), farm.urls, backend_user_max_active=MOST)
    await farm.fault("slow", seconds=1)
    try:
        async with started(backend), client(backend.url) as http:
            await backend.up(http)
            async with callers(http, 5, steps=10):
                backend.kill()
            backend.start()
            await backend.up(http)
            await farm.clear()
            listed = (await http.get("/generations")).json()["generations"]
            assert len(listed) == MOST
            for one in listed:
                ended = await http.get(f"/generations/{one['id']}", params={"wait": 60})
                assert ended.json()["status"] == "succeeded"
    finally:
        await farm.clear()


@pytest.mark.usefixtures("slow")
async def test_the_state_can_be_waited_for_by_many_at_once(
    http: httpx.AsyncClient, farm: Farm
) -> None:
    made = (await http.post("/generations", json=body("other", steps=50))).json()
    path = f"/generations/{made['id']}"
    early = (await http.get(path, params={"wait": 0.05})).json()
    assert early["status"] in ("queued", "running")
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=str(http.base_url), limits=limits, timeout=60) as many:
        waits = [asyncio.create_task(many.get(path, params={"wait": 60})) for _ in range(200)]
        assert (await http.get("/livez")).status_code == 200
        await farm.clear()
        ended = [answer.json()["status"] for answer in await asyncio.gather(*waits)]
    assert ended == ["succeeded"] * 200
    assert (await http.get(path, params={"wait": 60})).json()["status"] == "succeeded"


@pytest.mark.parametrize("seconds", ["61", "-1", "nan", "inf", "soon"])
async def test_a_wait_out_of_its_range_is_refused(http: httpx.AsyncClient, seconds: str) -> None:
    answer = await http.get(
        "/generations/00000000-0000-0000-0000-000000000000", params={"wait": seconds}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "wait"
