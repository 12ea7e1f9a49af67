"""A killed backend loses no webhook, and tells none under two ids."""

import asyncio
import random
from collections import defaultdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from aiohttp import web

from tests.backend.processes import Backend, Farm, started, until
from tests.backend.storage.databases import postgres, why_no_postgres
from tests.backend.webhooks.receiver import SECRET, Receiver, receiving, well

KILLS, AT_A_TIME = 3, 10


def backend_of(folder: Path, farm: Farm, **settings: Any) -> Backend:
    return Backend(
        folder,
        farm.urls,
        backend_webhook_secret=SECRET,
        backend_webhook_allow="127.0.0.1",
        **settings,
    )


async def ask(http: httpx.AsyncClient, url: str, receiver: Receiver) -> str:
    one = str(uuid4())
    body = {"mode": "tiny", "prompt": "a lake", "webhook": {"url": receiver.url(f"/{one}")}}
    answer = await http.put(f"{url}/generations/{one}", json=body)
    assert answer.status_code == 202, answer.text
    return one


def ids_by_generation(receiver: Receiver) -> dict[str, set[str]]:
    ids: dict[str, set[str]] = defaultdict(set)
    for told in receiver.told:
        assert told.verified()["type"] == "generation.succeeded"
        ids[told.generation].add(told.id)
    return ids


async def hold(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


async def slowly(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(random.uniform(0, 0.2))
    return web.Response(status=204)


async def test_kills_at_any_moment_lose_no_webhook(farm: Farm, tmp_path: Path) -> None:
    backend, wanted = backend_of(tmp_path, farm), []
    async with receiving(slowly) as receiver, started(backend), httpx.AsyncClient() as http:
        for _ in range(KILLS):
            await backend.up(http)
            for _ in range(AT_A_TIME):
                wanted.append(await ask(http, backend.url, receiver))
            await asyncio.sleep(random.uniform(0, 0.5))
            backend.kill()
            backend.start()
        await receiver.until_told_of(*wanted)
    ids = ids_by_generation(receiver)
    assert set(ids) == set(wanted)
    assert {len(own) for own in ids.values()} == {1}
    assert len(set().union(*ids.values())) == len(wanted)


async def test_a_kill_between_end_and_delivery_and_one_during_a_delivery(
    farm: Farm, tmp_path: Path
) -> None:
    backend = backend_of(tmp_path, farm)
    async with receiving(hold) as receiver, started(backend), httpx.AsyncClient() as http:
        await backend.up(http)
        await farm.fault("slow", seconds=1)
        one = await ask(http, backend.url, receiver)
        backend.kill()
        # Without a secret it ends with nobody to deliver: as if killed in between.
        backend.environment["BACKEND_WEBHOOK_SECRET"] = ""
        backend.start()
        await backend.up(http)
        await farm.clear()

        async def ended() -> bool:
            answer = await http.get(f"{backend.url}/generations/{one}")
            return bool(answer.json()["status"] == "succeeded")

        await until(ended, "the end")
        backend.kill()
        assert receiver.told == []
        backend.environment["BACKEND_WEBHOOK_SECRET"] = SECRET
        backend.start()
        await receiver.until(1)  # and it holds the answer back
        backend.kill()
        receiver.answer = well
        backend.start()
        await receiver.until(2)
        await backend.up(http)

        async def delivered() -> bool:
            return "easel_webhooks_pending 0.0" in (await http.get(f"{backend.url}/metrics")).text

        await until(delivered, "the delivery to be recorded")
    assert len(receiver.told) == 2
    assert ids_by_generation(receiver) == {one: {receiver.told[0].id}}


@pytest.mark.skipif(bool(why_no_postgres()), reason=why_no_postgres())
async def test_of_two_replicas_the_one_that_leads_delivers_and_the_next_goes_on(
    farm: Farm, tmp_path: Path
) -> None:
    async with postgres() as database, receiving() as receiver, httpx.AsyncClient() as http:
        shared = {
            "backend_database_url": database,
            "backend_images_url": (tmp_path / "images").as_uri(),
        }
        first, second = (backend_of(tmp_path / name, farm, **shared) for name in "ab")
        async with started(first):
            await first.up(http)
            async with started(second):
                await second.up(http, "/livez")
                many = [await ask(http, first.url, receiver) for _ in range(5)]
                await receiver.until_told_of(*many)
                assert len(receiver.told) == len(many)
                receiver.answer = hold
                last = await ask(http, second.url, receiver)
                await receiver.until_told_of(last)
                receiver.answer = well
                first.kill()
                await receiver.until(len(many) + 2)

                async def recorded() -> bool:
                    return "webhook_delivered" in second.output()

                await until(recorded, "the delivery by the second")
    ids = ids_by_generation(receiver)
    assert set(ids) == {*many, last}
    assert {len(own) for own in ids.values()} == {1}
