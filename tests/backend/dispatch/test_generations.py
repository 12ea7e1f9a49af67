"""Generations as their callers see them."""

import asyncio
import json
import uuid
from dataclasses import replace
from typing import Any

import httpx
import pytest

from backend.storage.database import Database
from backend.storage.storage import Storage
from gpu_server.schemas import State
from tests.backend.conftest import ALICE, BOB
from tests.backend.processes import Backend, Farm, until


def body(user: str, **more: Any) -> dict[str, Any]:
    return {"mode": "tiny", "user": user, **more}


async def state(http: httpx.AsyncClient, generation: str) -> str:
    return str((await http.get(f"/generations/{generation}")).json().get("status"))


async def until_state(http: httpx.AsyncClient, generation: str, wanted: str) -> None:
    async def reached() -> bool:
        return await state(http, generation) == wanted

    await until(reached, f"{generation} to be {wanted}")


async def test_twenty_simultaneous_puts_of_one_id_make_one_generation(
    alice: httpx.AsyncClient, farm: Farm
) -> None:
    one = str(uuid.uuid4())
    given = body("eager", prompt="once")
    answers = await asyncio.gather(
        *(alice.put(f"/generations/{one}", json=given) for _ in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len({answer.json()["seed"] for answer in answers}) == 1
    await until_state(alice, one, "succeeded")
    assert farm.prompts().count(one) == 1
    again = await alice.put(f"/generations/{one}", json=given)
    assert (again.status_code, again.json()["status"]) == (200, "succeeded")
    other = await alice.put(f"/generations/{one}", json=body("eager", prompt="another"))
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


async def test_an_idempotency_key_gives_the_same_generation_again(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    headers = {"Idempotency-Key": f"key {uuid.uuid4()}"}
    given = body("careful", prompt="once")
    answers = await asyncio.gather(
        *(alice.post("/generate", json=given, headers=headers) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    later = await alice.post("/generations", json=given, headers=headers)
    assert (later.status_code, later.json()["id"]) == (200, answers[0].json()["id"])
    other = await alice.post("/generate", json=body("careful", prompt="two"), headers=headers)
    assert other.status_code == 409
    of_bob = await bob.post("/generate", json=given, headers=headers)
    assert of_bob.json()["id"] != answers[0].json()["id"]


@pytest.mark.usefixtures("slow")
async def test_queued_and_running_generations_are_cancelled_and_ended_ones_deleted(
    alice: httpx.AsyncClient,
) -> None:
    running, queued, third = (str(uuid.uuid4()) for _ in range(3))
    for one in (running, queued, third):
        await alice.put(f"/generations/{one}", json=body("undecided", steps=100))
    await until_state(alice, running, "running")
    for one in (third, queued, running):
        ended = (await alice.delete(f"/generations/{one}")).json()
        assert (ended["outcome"], ended["status"]) == ("cancelled", "cancelled")
        assert await state(alice, one) == "cancelled"
    ended = (await alice.delete(f"/generations/{running}")).json()
    assert ended["outcome"] == "deleted"
    assert (await alice.get(f"/generations/{running}")).status_code == 404
    assert (await alice.delete(f"/generations/{running}")).status_code == 404


async def test_cancelling_right_after_accepting_is_final(alice: httpx.AsyncClient) -> None:
    """Whatever it meets: the moment before the pod was chosen, was asked, or has begun."""
    for number in range(5):
        one = str(uuid.uuid4())
        user = f"hasty {number}"
        await alice.put(f"/generations/{one}", json=body(user, steps=30))
        await asyncio.sleep(number * 0.004)
        ended = (await alice.delete(f"/generations/{one}")).json()
        assert await state(alice, one) == ended["status"]
        assert ended["outcome"] in ("cancelled", "already_ended")


@pytest.mark.usefixtures("slow")
async def test_hanging_up_on_generate_cancels_it(alice: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await alice.post("/generate", json=body("impatient", steps=100), timeout=2)

    async def cancelled() -> bool:
        found = (await alice.get("/generations", params={"user": "impatient"})).json()
        return [one["status"] for one in found["generations"]] == ["cancelled"]

    await until(cancelled, "the generation to be cancelled")


async def test_deleting_a_user_leaves_nothing_of_him(
    alice: httpx.AsyncClient, farm: Farm, backend: Backend
) -> None:
    ended = (await alice.post("/generate", json=body("leaving", count=2))).json()["id"]
    await farm.fault("slow", seconds=1)
    running = (await alice.post("/generations", json=body("leaving", steps=100))).json()["id"]
    await until_state(alice, running, "running")
    deleted = (await alice.delete("/users/leaving")).json()
    await farm.clear()
    assert deleted == {"user": "leaving", "generations": 2, "images": 2, "cancelled": 1}
    for one in (ended, running):
        assert (await alice.get(f"/generations/{one}")).status_code == 404
    folder = backend.log.parent / "backend" / "images"
    assert not [path for path in folder.rglob("*") if ended in path.name]


async def test_a_style_without_its_model_is_refused(alice: httpx.AsyncClient) -> None:
    answer = await alice.post("/generate", json={"mode": "free", "prompt": "a fox", "user": "m"})
    assert (answer.status_code, answer.json()["code"]) == (503, "model_missing")


async def test_events_tell_progress_previews_and_the_result(
    alice: httpx.AsyncClient, farm: Farm
) -> None:
    await farm.fault("slow", seconds=0.2)
    made = (await alice.post("/generations", json=body("watcher", steps=10))).json()["id"]
    path = f"/generations/{made}/events"
    names, last = await _events(alice, path, {"previews": "true"})
    assert {"state", "progress", "preview"} <= set(names)
    assert names[-1] == "result"
    assert names.count("result") == 1
    again, _ = await _events(alice, path, {}, {"Last-Event-ID": last})
    assert again == [], "who has the result has everything"
    await farm.clear()


async def test_a_cut_event_stream_is_taken_up_again(alice: httpx.AsyncClient, farm: Farm) -> None:
    await farm.fault("slow", seconds=0.2)
    one = str(uuid.uuid4())
    await alice.put(f"/generations/{one}", json=body("far away", steps=10))
    path = f"/generations/{one}/events"
    async with alice.stream("GET", path) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("id:"):
                last = line.removeprefix("id:").strip()
                break
    names, _ = await _events(alice, path, {}, {"Last-Event-ID": last})
    assert names[-1] == "result"
    assert await state(alice, one) == "succeeded"
    await farm.clear()


@pytest.mark.usefixtures("slow")
async def test_a_caller_who_returns_to_a_stream_learns_the_position(
    alice: httpx.AsyncClient,
) -> None:
    first, second = (str(uuid.uuid4()) for _ in range(2))
    for one in (first, second):
        await alice.put(f"/generations/{one}", json=body("in line", steps=100))
    await until_state(alice, first, "running")
    path = f"/generations/{second}/events"
    async with asyncio.timeout(30):
        last = await _first(alice, path, "id")
        told = await _first(alice, path, "data", {"Last-Event-ID": last})
    assert json.loads(told)["position"] == 1
    await alice.delete("/users/in line")


async def _first(
    http: httpx.AsyncClient, path: str, field: str, headers: dict[str, str] | None = None
) -> str:
    """Return this field of the first event that has it."""
    async with http.stream("GET", path, headers=headers or {}) as stream:
        async for line in stream.aiter_lines():
            name, _, value = line.partition(":")
            if name == field:
                return value.strip()
    raise AssertionError(f"no {field} in {path}")


async def test_a_committed_generation_that_nobody_took_up_is_found_by_its_caller(
    alice: httpx.AsyncClient, backend: Backend
) -> None:
    """As if the answer to a commit was lost, or the previous leader accepted it."""
    given = body("unlucky", prompt="forgotten")
    made = (await alice.post("/generations", json=given)).json()["id"]
    folder = backend.log.parent / "backend"
    database = Database(f"sqlite:///{folder / 'easel.sqlite3'}")
    storage = await Storage.open(database, (folder / "images").as_uri())
    row = await storage.rows.get(uuid.UUID(made))
    assert row is not None
    again, followed = (
        replace(row, id=uuid.uuid4(), status=State.queued, pod=None, ended=None, outcome=None)
        for _ in range(2)
    )
    for one in (again, followed):
        await storage.rows.add(one)
    answer = await alice.put(f"/generations/{again.id}", json=given)
    assert answer.status_code == 200
    for one in (again, followed):
        names, _ = await _events(alice, f"/generations/{one.id}/events", {})
        assert names[-1] == "result"
        assert await state(alice, str(one.id)) == "succeeded"
        assert (await alice.get(f"/generations/{one.id}/images/0")).status_code == 200
    await database.close()


async def _events(
    http: httpx.AsyncClient,
    path: str,
    params: dict[str, str],
    headers: dict[str, str] | None = None,
) -> tuple[list[str], str]:
    """Return the names of all events, and the last id."""
    names, last = [], ""
    async with http.stream("GET", path, params=params, headers=headers or {}) as stream:
        async for line in stream.aiter_lines():
            field, _, value = line.partition(":")
            if field == "event":
                names.append(value.strip())
            elif field == "id":
                last = value.strip()
    return names, last


async def test_prompts_and_keys_never_show_up_in_the_log(
    alice: httpx.AsyncClient, backend: Backend
) -> None:
    words = "an unmistakable heliotrope armadillo"
    await alice.post("/generate", json=body("private", prompt=words))
    await alice.post("/generate", json=body("private", prompt=words, steps="many"))
    await alice.post(
        "/generate", content=b'{"prompt": "heliotrope', headers={"content-type": "application/json"}
    )
    log = backend.output()
    assert '"event": "request"' in log
    for secret in ("heliotrope", ALICE, BOB):
        assert secret not in log
    assert "Traceback" not in log
