"""Who the person behind a key is, and that nobody without a name pays for others."""

import uuid
from typing import Any

import httpx
import pytest

from backend.limits.people import People
from backend.limits.refusals import BLOCK_FROM, Refusals
from backend.storage.database import Database
from tests.backend.conftest import PERSON_HEADER
from tests.backend.processes import Farm

REFUSED = "naked girl, 15 years old"


def body(**more: Any) -> dict[str, Any]:
    return {"mode": "tiny", **more}


@pytest.fixture
def person() -> str:
    return f"person {uuid.uuid4()}"


async def names(http: httpx.AsyncClient, user: str) -> list[str]:
    listed = (await http.get("/generations", params={"user": user})).json()["generations"]
    return [one["user"] for one in listed]


async def test_the_header_names_the_person_on_every_route_that_accepts(
    alice: httpx.AsyncClient, person: str
) -> None:
    given = {**body(user="whoever the body says"), "prompt": "a lake"}
    openai = {"model": "easel-tiny", "prompt": "a lake", "user": "whoever the body says"}
    form = {"request": (None, '{"mode": "tiny"}')}
    headers = {PERSON_HEADER: person}
    for answer in (
        await alice.post("/generate", json=given, headers=headers),
        await alice.post("/generations", json=given, headers=headers),
        await alice.put(f"/generations/{uuid.uuid4()}", json=given, headers=headers),
        await alice.post("/v1/images/generations", json=openai, headers=headers),
        await alice.post("/generate", files=form, headers=headers),
    ):
        assert answer.status_code in (200, 202), answer.text
    assert await names(alice, person) == [person] * 5
    assert await names(alice, "whoever the body says") == []


async def test_a_header_of_any_shape_names_somebody_or_is_refused_with_a_sentence(
    alice: httpx.AsyncClient,
) -> None:
    async def post(*values: bytes) -> httpx.Response:
        headers = [(PERSON_HEADER.encode(), value) for value in values]
        return await alice.post("/generations", json=body(user="of the body"), headers=headers)

    assert (await post("Жанна".encode())).json()["user"] == "Жанна"
    assert (await post("Zoë".encode("latin-1"))).json()["user"] == "Zoë"
    assert (await post(b"")).json()["user"] == "of the body"
    assert (await post(b"ann", b"ann")).json()["user"] == "ann"
    for values in ((b"x" * 129,), (b"a\tb",), (b"ann", b"bob")):
        refused = await post(*values)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
        assert refused.json()["errors"][0]["field"] == PERSON_HEADER
        assert "128" in refused.json()["errors"][0]["allowed"]


def test_without_keys_no_header_is_read() -> None:
    assert People().named_by(httpx.Headers({"X-Person": "ann"})) == ""  # type: ignore[arg-type]


async def test_one_persons_refused_prompts_block_nobody_else_behind_the_key(
    bob: httpx.AsyncClient, person: str
) -> None:
    headers = {PERSON_HEADER: person}
    for _ in range(BLOCK_FROM + 1):
        refused = await bob.post("/generations", json=body(prompt=REFUSED))
        assert (refused.status_code, refused.json()["code"]) == (422, "content_refused")
    assert (await bob.post("/generate", json=body(prompt="a lake"))).status_code == 200
    codes = [
        (await bob.post("/generations", json=body(prompt=REFUSED), headers=headers)).status_code
        for _ in range(6)
    ]
    assert codes == [422] * 5 + [429]
    assert (await bob.post("/generate", json=body(prompt="a lake"))).status_code == 200
    counts = (await bob.get("/refusals")).json()
    assert {one["user"]: one["count"] for one in counts} == {"": BLOCK_FROM + 1, person: 5}


async def test_a_flood_of_refused_prompts_without_a_name_is_not_kept_without_bound(
    database: Database,
) -> None:
    refusals = Refusals(database, max_counted=20)
    for _ in range(50):
        await refusals.note("shop", "", "sexual")
    assert [one.count for one in await refusals.counts("shop")] == [20]
    refusals.check("shop", "")


async def test_nobody_without_a_name_is_limited_for_what_others_ask(
    bob: httpx.AsyncClient,
) -> None:
    """The rate is 6 a minute, the day's pictures are 10."""
    for _ in range(4):
        answer = await bob.post("/generate", json=body(count=4))
        assert answer.status_code == 200, answer.text
    for _ in range(4):
        assert (await bob.post("/generate", json=body())).status_code == 200


@pytest.mark.usefixtures("slow")
async def test_without_names_half_of_the_queue_is_for_others(
    bob: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    codes = [(await bob.post("/generations", json=body(steps=50))).status_code for _ in range(5)]
    assert codes == [202] * 4 + [429]
    full = await bob.post("/generations", json=body())
    assert full.json()["code"] == "queue_full"
    assert "name no user" in full.json()["detail"]
    assert (await bob.post("/generations", json=body(user="bo", steps=50))).status_code == 202
    assert (await alice.post("/generations", json=body(steps=50))).status_code == 202
    for http, params in ((bob, {"user": ""}), (bob, {"user": "bo"}), (alice, {"user": ""})):
        await http.delete("/users", params=params)


async def test_every_refusal_is_counted_by_its_code(alice: httpx.AsyncClient) -> None:
    async def counted(name: str) -> dict[str, float]:
        lines = (await alice.get("/metrics")).text.splitlines()
        found = (line.rsplit(" ", 1) for line in lines if line.startswith(f"{name}{{"))
        return {series.split('"')[1]: float(value) for series, value in found}

    name = "easel_requests_refused_total"
    before = await counted(name)
    policy = await counted("easel_generations_refused_total")
    await alice.get("/nowhere")
    await alice.delete("/generate")
    await alice.post("/generations", json=body(steps="many"))
    await alice.post("/generations", json=body(prompt=REFUSED))
    await alice.post("/generations", content=b"x", headers={"content-type": "text/plain"})
    await alice.post("/generate", content=bytes(30_000_001))
    await alice.get("/modes", headers={"Authorization": "Bearer wrong"})
    await alice.post("/v1/images/generations", json={"model": "nothing", "prompt": "x"})
    after = await counted(name)
    grown = {code: number - before.get(code, 0) for code, number in after.items()}
    assert {code: number for code, number in grown.items() if number} == {
        "not_found": 1,
        "invalid_request": 3,
        "content_refused": 1,
        "too_large": 1,
        "unauthorized": 1,
        "model_not_found": 1,
    }
    grown = await counted("easel_generations_refused_total")
    assert sum(grown.values()) == sum(policy.values()) + 1


async def test_metrics_tell_of_the_process_and_have_no_created_series(
    alice: httpx.AsyncClient, farm: Farm
) -> None:
    async with httpx.AsyncClient() as plain:
        answers = [await alice.get("/metrics"), await plain.get(f"{farm.urls[0]}/metrics")]
    for answer in answers:
        assert "process_resident_memory_bytes" in answer.text
        assert "_created" not in answer.text
