"""A proxy in front of the backend that cuts every connection at its time limit."""

import uuid
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.backend.processes import Backend, Farm, started, until
from tests.gpu_server.comfy.fault_proxy import fault_proxy
from web import sse

LIMIT_S = 1.0
LONG = {"mode": "tiny", "prompt": "a lake", "steps": 25}
"""Takes several times the limit, as slow as the engine is here."""


@pytest.fixture
async def direct(farm: Farm, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    backend = Backend(tmp_path, farm.urls)
    async with started(backend), httpx.AsyncClient(base_url=backend.url, timeout=60) as http:
        await backend.up(http)
        await farm.fault("slow", seconds=0.15)
        yield http
        await farm.clear()
        assert "Traceback" not in backend.output()


@pytest.fixture
async def limited(direct: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    async with fault_proxy(str(direct.base_url)) as (proxy, url):
        proxy.limit_s = LIMIT_S
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            yield http


async def accepted(http: httpx.AsyncClient) -> str:
    one = str(uuid.uuid4())

    async def put() -> bool:
        try:
            answer = await http.put(f"/generations/{one}", json=LONG)
        except httpx.TransportError:
            return False
        return answer.status_code in (200, 202)

    await until(put, "it to be accepted")
    return one


async def test_cut_event_streams_are_resumed_where_they_broke_off(
    limited: httpx.AsyncClient,
) -> None:
    one = await accepted(limited)
    seen: list[list[int]] = []
    names: list[str] = []

    async def result() -> bool:
        last = seen[-1][-1] if seen else -1
        headers = {"Last-Event-ID": str(last)} if seen else {}
        ids: list[int] = []
        try:
            async with limited.stream(
                "GET", f"/generations/{one}/events", headers=headers
            ) as stream:
                async for line in stream.aiter_lines():
                    field, _, value = line.partition(": ")
                    if field == "id" and value != sse.END:
                        ids.append(int(value))
                    elif field == "event":
                        names.append(value)
        except httpx.TransportError:
            pass
        if ids:
            seen.append(ids)
        return "result" in names

    await until(result, "the result")
    assert len(seen) >= 3, "it was cut several times"
    for before, after in pairwise(seen):
        assert after[0] > before[-1], "it goes on after the last that was seen"
    assert names.count("result") == 1


async def test_pictures_are_had_by_accepting_and_looking(limited: httpx.AsyncClient) -> None:
    one = await accepted(limited)

    async def picture() -> bytes | None:
        try:
            state = (await limited.get(f"/generations/{one}")).json()["status"]
            assert state in ("queued", "running", "succeeded")
            found = await limited.get(f"/generations/{one}/images/0")
        except httpx.TransportError:
            return None
        return found.content if found.status_code == 200 else None

    assert (await until(picture, "the picture")).startswith(b"\x89PNG")


async def test_waiting_on_generate_fails_as_a_cut_connection_and_cancels_it(
    direct: httpx.AsyncClient, limited: httpx.AsyncClient
) -> None:
    with pytest.raises(httpx.TransportError):
        await limited.post("/generate", json={**LONG, "user": "waiting"})

    async def cancelled() -> bool:
        answer = await direct.get("/generations", params={"user": "waiting"})
        return [one["status"] for one in answer.json()["generations"]] == ["cancelled"]

    await until(cancelled, "it to be cancelled")
    told = (await direct.get("/openapi.json")).json()["paths"]["/generate"]["post"]["description"]
    for way_out in ("PUT /generations/{id}", "Last-Event-ID", "Idempotency-Key"):
        assert way_out in told


async def test_waiting_again_under_the_same_key_gives_the_pictures(
    direct: httpx.AsyncClient, limited: httpx.AsyncClient
) -> None:
    cuts = 0

    async def drawn() -> bool:
        nonlocal cuts
        body = {**LONG, "user": "insisting"}
        try:
            answer = await limited.post(
                "/generate", json=body, headers={"Idempotency-Key": "the same"}
            )
        except httpx.TransportError:
            cuts += 1
            return False
        return bool(answer.json()["status"] == "succeeded")

    await until(drawn, "the picture")
    assert cuts
    kept = (await direct.get("/generations", params={"user": "insisting"})).json()
    assert len(kept["generations"]) == 1
