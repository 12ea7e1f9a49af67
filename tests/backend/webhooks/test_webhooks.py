"""Webhooks of a running backend, verified as receivers verify them."""

import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from standardwebhooks import WebhookVerificationError

from tests.backend.processes import Backend, Farm, started, until
from tests.backend.webhooks.receiver import SECRET, Receiver, receiving

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "alice-secret-0123456789"
OLD_SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
DRAW = {"mode": "tiny", "prompt": "a lake"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operators() -> AsyncIterator[Receiver]:
    """Run the receiver that BACKEND_WEBHOOK_URL names."""
    async with receiving() as receiver:
        yield receiver


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process(
    farm: Farm, operators: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Backend]:
    process = Backend(
        tmp_path_factory.mktemp("webhooks"),
        farm.urls,
        backend_api_keys=f"alice:{KEY}",
        backend_webhook_url=operators.url("/operator"),
        backend_webhook_secret=f"{SECRET},{OLD_SECRET}",
        backend_webhook_allow="127.0.0.1",
    )
    async with started(process), httpx.AsyncClient() as http:
        await process.up(http)
        yield process


@pytest_asyncio.fixture(loop_scope="module")
async def http(process: Backend) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=process.url, headers=headers, timeout=60) as http:
        yield http


def asking(receiver: Receiver, path: str = "/hook", **fields: Any) -> dict[str, Any]:
    return {**DRAW, **fields, "webhook": {"url": receiver.url(path)}}


async def test_a_receiver_is_told_of_a_success_and_fetches_the_image_without_a_key(
    http: httpx.AsyncClient, receiver: Receiver
) -> None:
    body = asking(receiver, "/hook?token=abc")
    one = (await http.post("/generations", json=body)).json()["id"]
    told = next(t for t in await receiver.until_told_of(one) if t.generation == one)
    assert told.path == "/hook?token=abc"
    assert told.headers["content-type"] == "application/json"
    for secret in (SECRET, OLD_SECRET):
        event = told.verified(secret)
    with pytest.raises(WebhookVerificationError):
        told.verified("whsec_" + base64.b64encode(bytes(32)).decode())
    shown = (await http.get(f"/generations/{one}")).json()
    (image,) = event["data"]["images"]
    assert event["type"] == "generation.succeeded"
    assert event["data"] | {"images": []} == shown | {"images": []}
    assert "webhook" not in shown
    async with httpx.AsyncClient() as stranger:
        assert (await stranger.get(image["url"])).content.startswith(b"\x89PNG")


async def test_every_way_in_may_name_a_webhook(http: httpx.AsyncClient, receiver: Receiver) -> None:
    put, streamed = str(uuid4()), {"accept": "text/event-stream"}
    await http.put(f"/generations/{put}", json=asking(receiver))
    drawn = (await http.post("/generate", json=asking(receiver))).json()["id"]
    await http.post("/generate", json=asking(receiver, prompt="last"), headers=streamed)
    told = await receiver.until_told_of(put, drawn)
    assert {t.verified()["type"] for t in told} == {"generation.succeeded"}


async def test_failures_and_cancellations_are_told_with_their_reason(
    http: httpx.AsyncClient, receiver: Receiver, farm: Farm
) -> None:
    await farm.fault("slow", seconds=1)
    cancelled = (await http.post("/generations", json=asking(receiver, steps=50))).json()["id"]
    await http.delete(f"/generations/{cancelled}")
    await farm.clear()
    await farm.fault("out_of_memory")
    failed = (await http.post("/generations", json=asking(receiver))).json()["id"]
    told = await receiver.until_told_of(cancelled, failed)
    await farm.clear()
    events = {t.generation: t.verified() for t in told}
    assert events[cancelled]["type"] == "generation.cancelled"
    assert events[failed]["type"] == "generation.failed"
    assert events[failed]["data"]["error"]["code"] == "out_of_memory"
    assert events[failed]["data"]["images"] == []


async def test_the_operators_webhook_is_told_of_what_names_none_also_from_openais_routes(
    http: httpx.AsyncClient, operators: Receiver, receiver: Receiver
) -> None:
    own = (await http.post("/generate", json=asking(receiver))).json()["id"]
    one = (await http.post("/generate", json=DRAW)).json()["id"]
    body = {"model": "easel-tiny", "prompt": "by OpenAI's client"}
    assert (await http.post("/v1/images/generations", json=body)).status_code == 200
    await operators.until_told_of(one)

    async def both() -> bool:
        prompts = {told.verified()["data"]["prompt"] for told in operators.told}
        return {"a lake", "by OpenAI's client"} <= prompts

    await until(both, "the operator's receiver")
    assert own not in {told.generation for told in operators.told}


async def test_a_webhook_is_part_of_the_request_that_an_id_or_key_stands_for(
    http: httpx.AsyncClient, receiver: Receiver
) -> None:
    one, key = uuid4(), {"Idempotency-Key": str(uuid4())}
    first, again, other = [
        (await http.put(f"/generations/{one}", json=body)).status_code
        for body in (asking(receiver), asking(receiver), asking(receiver, "/elsewhere"))
    ]
    assert (first, again, other) == (202, 200, 409)
    first, other = [
        (await http.post("/generations", json=body, headers=key)).status_code
        for body in (DRAW, asking(receiver))
    ]
    assert (first, other) == (202, 409)


@pytest.mark.parametrize(
    ("webhook", "field"),
    [
        ({"url": "http://10.0.0.1/hook"}, "webhook.url"),
        ({"url": "https://[::1]/"}, "webhook.url"),
        ({"url": "https://2130706433/"}, "webhook.url"),
        ({"url": "https://user:secret@example.org/"}, "webhook.url"),
        ({"url": ""}, "webhook.url"),
        ({"url": "https://example.org/" + 2000 * "a"}, "webhook.url"),
        ({"url": 5}, "webhook.url"),
        ({}, "webhook.url"),
        ({"url": "https://example.org/", "secret": "mine"}, "webhook.secret"),
        ("https://example.org/", "webhook"),
    ],
)
async def test_a_webhook_that_can_be_refused_at_once_is_refused_with_its_field(
    http: httpx.AsyncClient, webhook: Any, field: str
) -> None:
    answer = await http.post("/generations", json={**DRAW, "webhook": webhook})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]
    assert "secret@" not in answer.text


async def test_an_address_that_is_no_text_is_refused(http: httpx.AsyncClient) -> None:
    for url in (r"https://example.org/\ud800", r"https://example.org/\u0000"):
        body = f'{{"mode": "tiny", "prompt": "a", "webhook": {{"url": "{url}"}}}}'
        answer = await http.post(
            "/generations", content=body, headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "webhook.url")


async def test_metrics_count_what_was_delivered_and_the_log_quotes_no_address(
    http: httpx.AsyncClient, process: Backend, receiver: Receiver
) -> None:
    await receiver.until(1)

    async def counted() -> bool:
        metrics = (await http.get("/metrics")).text
        assert 'outcome="failed"' not in metrics
        return "easel_webhooks_pending 0.0" in metrics

    await until(counted, "all to be delivered")
    assert (
        'easel_webhook_deliveries_total{outcome="delivered"}' in (await http.get("/metrics")).text
    )
    assert '"event": "webhook_delivered"' in process.output()
    assert "token=abc" not in process.output()
    assert "Traceback" not in process.output()


async def test_without_a_secret_no_webhook_is_taken_and_the_answer_says_why(
    alice: httpx.AsyncClient,
) -> None:
    body = {**DRAW, "webhook": {"url": "https://example.org/hook"}}
    answer = await alice.post("/generations", json=body)
    assert answer.status_code == 422
    assert "BACKEND_WEBHOOK_SECRET" in answer.json()["errors"][0]["message"]
