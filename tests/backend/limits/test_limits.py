"""How much one user may have, and what the answer says when it is too much."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest


def body(user: str, **more: Any) -> dict[str, Any]:
    return {"mode": "tiny", "user": user, **more}


async def cancel_all(http: httpx.AsyncClient, *users: str) -> None:
    for user in users:
        await http.delete(f"/users/{user}")


@pytest.mark.usefixtures("slow")
async def test_a_user_with_too_many_unfinished_is_told_to_wait(alice: httpx.AsyncClient) -> None:
    request = body("busy", steps=50)
    answers = await asyncio.gather(*(alice.post("/generations", json=request) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 3
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["code"] == "rate_limited"
    assert int(refused.headers["retry-after"]) >= 1
    other = await alice.post("/generations", json=body("somebody else"))
    assert other.status_code == 202
    await cancel_all(alice, "busy", "somebody else")


async def test_the_rate_is_per_minute_and_deleting_does_not_refund_it(
    alice: httpx.AsyncClient,
) -> None:
    for _ in range(6):
        answer = await alice.post("/generate", json=body("fast"))
        assert answer.status_code == 200, answer.text
        await alice.delete(f"/generations/{answer.json()['id']}")
    refused = await alice.post("/generate", json=body("fast"))
    assert refused.status_code == 429
    assert refused.json()["code"] == "rate_limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


async def test_a_deleted_id_may_be_used_again_and_counts_again(
    alice: httpx.AsyncClient,
) -> None:
    address = f"/generations/{uuid.uuid4()}"
    for number in range(6):
        answer = await alice.put(address, json=body("again", prompt=f"number {number}"))
        assert answer.status_code == 202, answer.text
        await alice.get(f"{address}/events")
        assert (await alice.delete(address)).json()["outcome"] == "deleted"
    refused = await alice.put(address, json=body("again"))
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")


async def test_the_images_of_a_day_are_counted(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    for count in (4, 4):
        assert (await alice.post("/generate", json=body("daily", count=count))).status_code == 200
    refused = await alice.post("/generate", json=body("daily", count=3))
    assert refused.status_code == 429
    assert refused.json()["code"] == "quota_exceeded"
    assert 86_000 < int(refused.headers["retry-after"]) <= 86_400
    assert (await alice.post("/generate", json=body("daily", count=2))).status_code == 200
    same_name = await bob.post("/generate", json=body("daily", count=3))
    assert same_name.status_code == 200, "users of another key are other people"


@pytest.mark.usefixtures("slow")
async def test_a_full_queue_accepts_no_more(alice: httpx.AsyncClient) -> None:
    users = [f"crowd {number}" for number in range(12)]
    answers = await asyncio.gather(
        *(alice.post("/generations", json=body(user, steps=50)) for user in users)
    )
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 4
    assert {answer.json()["code"] for answer in refused} == {"queue_full"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    await cancel_all(alice, *users)


async def test_without_a_valid_key_nothing_is_disclosed(backend_url: str) -> None:
    async with httpx.AsyncClient(base_url=backend_url) as http:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}):
            for path in ("/modes", "/generations", f"/generations/{uuid.uuid4()}", "/health"):
                answer = await http.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.json()["code"] == "unauthorized"
        assert (await http.get("/livez")).status_code == 200


async def test_another_keys_generation_does_not_exist(
    alice: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    made = (await alice.post("/generate", json=body("hers"))).json()["id"]
    for method, path in (
        ("GET", f"/generations/{made}"),
        ("GET", f"/generations/{made}/events"),
        ("GET", f"/generations/{made}/images/0"),
        ("DELETE", f"/generations/{made}"),
    ):
        assert (await bob.request(method, path)).status_code == 404
    listed = (await bob.get("/generations", params={"limit": 100})).json()["generations"]
    assert made not in {one["id"] for one in listed}
    # Nor does it keep the other key from using that id.
    address = f"/generations/{made}"
    answers = [await bob.put(address, json=body("his", prompt="his own")) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 200]
    assert "event: result" in (await bob.get(f"{address}/events")).text
    his, hers = [(await http.get(address)).json() for http in (bob, alice)]
    assert (his["id"], his["prompt"], his["status"]) == (made, "his own", "succeeded")
    assert (hers["id"], hers["prompt"]) == (made, "")
    listed = (await bob.get("/generations", params={"limit": 1})).json()["generations"]
    assert [one["id"] for one in listed] == [made]
    assert listed[0]["images"][0]["url"] == f"{address}/images/0"
    image = await bob.get(f"{address}/images/0")
    assert image.headers["x-generation-id"] == made
    assert (await bob.delete(address)).json() | {"took_ms": 0} == {
        "id": made,
        "status": "succeeded",
        "outcome": "deleted",
        "detail": "Deleted with its images",
        "took_ms": 0,
    }
    assert (await bob.get(address)).status_code == 404
    assert (await alice.get(f"{address}/images/0")).status_code == 200


async def test_other_origins_are_not_let_in_and_headers_protect(alice: httpx.AsyncClient) -> None:
    answer = await alice.get("/modes", headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
