"""How a bot gets updates: polling, confirming, webhooks, and ordered faults."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.telegram_bot.local.conftest import TOKEN, Json, Local, picture, until

ME = 1001
MASHA = 1002
GROUP = -1001700000001


async def test_updates_come_again_until_they_are_confirmed(local: Local) -> None:
    for text in ("one", "two", "three"):
        await local.says(ME, text)
    first = await local.updates(limit=2)
    assert [u["message"]["text"] for u in first] == ["one", "two"]
    assert await local.updates(limit=2) == first
    rest = await local.updates(offset=first[-1]["update_id"] + 1)
    assert [u["message"]["text"] for u in rest] == ["three"]
    assert await local.updates(offset=rest[-1]["update_id"] + 1) == []


async def test_a_negative_offset_keeps_the_newest(local: Local) -> None:
    for text in ("one", "two", "three"):
        await local.says(ME, text)
    assert [u["message"]["text"] for u in await local.updates(offset=-1)] == ["three"]


async def test_a_long_poll_ends_with_the_message(local: Local) -> None:
    async with asyncio.TaskGroup() as tasks:
        poll = tasks.create_task(local.updates(timeout=30))
        await until(lambda: asyncio.sleep(0, local.world.updates.bot_online), bool)
        await local.says(ME, "now")
    assert poll.result()[0]["message"]["text"] == "now"


async def test_a_second_poller_ends_the_first(local: Local) -> None:
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(local.refusal("getUpdates", timeout=30))
        await until(lambda: asyncio.sleep(0, local.world.updates.bot_online), bool)
        tasks.create_task(local.updates(timeout=30))
        await until(lambda: asyncio.sleep(0, first.done()), bool)
        await local.says(ME, "for the second")
    assert first.result() == (
        "Conflict: terminated by other getUpdates request; "
        "make sure that only one bot instance is running"
    )


async def test_the_bot_gets_only_the_updates_it_allows(local: Local) -> None:
    await local.updates(allowed_updates=["callback_query"])
    await local.says(ME, "unheard")
    assert await local.updates() == []
    await local.updates(allowed_updates=[])
    await local.says(ME, "heard")
    assert len(await local.updates()) == 1


async def test_a_duplicated_update_comes_twice_under_one_id(local: Local) -> None:
    await local.fault("duplicate_update")
    await local.says(ME, "once")
    first = await local.updates()
    second = await local.updates(offset=first[0]["update_id"] + 1)
    assert second == first
    assert await local.updates(offset=first[0]["update_id"] + 1) == []


async def test_a_confirmed_update_can_come_again(local: Local) -> None:
    await local.says(ME, "old")
    old = await local.updates()
    offset = old[0]["update_id"] + 1
    assert await local.updates(offset=offset) == []
    await local.fault("stale_update")
    assert await local.updates(offset=offset) == old


async def test_in_a_group_the_bot_sees_what_privacy_mode_shows(local: Local) -> None:
    heard = await local.call("sendMessage", chat_id=GROUP, text="hello all")
    for text in (
        "chatter",
        "/draw fox",
        "/draw@other_bot x",
        "/go@easel_local_bot",
        "hi @Easel_Local_Bot",
    ):
        await local.says(ME, text, chat_id=GROUP)
    await local.says(MASHA, "me too", chat_id=GROUP, reply_to=heard["message_id"])
    texts = [u["message"]["text"] for u in await local.updates()]
    assert texts == ["/draw fox", "/go@easel_local_bot", "hi @Easel_Local_Bot", "me too"]
    assert len(await local.messages(MASHA, GROUP)) == 7


async def test_an_album_of_a_person_is_several_updates_with_one_group(local: Local) -> None:
    photos = [picture(), picture(colour="red"), picture(colour="blue")]
    await local.send(user_id=ME, photos=photos, caption="three")
    messages = [u["message"] for u in await local.updates()]
    assert len({m["media_group_id"] for m in messages}) == 1
    assert [m.get("caption") for m in messages] == ["three", None, None]


@dataclass
class Hook:
    """A bot's webhook: a bare HTTP server that answers with `statuses`, then with 200."""

    statuses: list[int]
    url: str = ""
    received: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        self.received.append((head, await reader.readexactly(length)))
        status = self.statuses.pop(0) if self.statuses else 200
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    hook = Hook([500])
    server = await asyncio.start_server(hook.serve, "127.0.0.1", 0)
    hook.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/updates"
    async with server:
        yield hook


async def test_a_webhook_gets_the_secret_and_a_repeat_of_a_refused_update(
    local: Local, hook: Hook
) -> None:
    await local.call("setWebhook", url=hook.url, secret_token="abc_123")
    await local.says(ME, "by webhook")
    await until(lambda: asyncio.sleep(0, len(hook.received)), lambda count: count == 2)
    (head, first), (_, second) = hook.received
    assert first == second
    assert b"x-telegram-bot-api-secret-token: abc_123" in head.lower()
    info = await until(
        lambda: local.call("getWebhookInfo"), lambda info: info["pending_update_count"] == 0
    )
    assert "500" in info["last_error_message"]


async def test_polling_and_a_webhook_exclude_each_other(local: Local, hook: Hook) -> None:
    async with asyncio.TaskGroup() as tasks:
        poll = tasks.create_task(local.refusal("getUpdates", timeout=30))
        await until(lambda: asyncio.sleep(0, local.world.updates.bot_online), bool)
        await local.call("setWebhook", url=hook.url)
    assert poll.result() == "Conflict: terminated by setWebhook request"
    assert "while webhook is active" in await local.refusal("getUpdates")
    await local.call("deleteWebhook")
    assert await local.updates() == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"url": "ftp://127.0.0.1/x"}, "invalid webhook URL specified"),
        ({"url": "https://example.org/x"}, "loopback addresses only"),
        ({"url": "http://127.0.0.1/x", "secret_token": "no spaces"}, "unallowed characters"),
        ({"url": "http://127.0.0.1/x", "secret_token": "x" * 257}, "secret token is too long"),
    ],
)
async def test_an_invalid_webhook_is_refused(local: Local, settings: Json, reason: str) -> None:
    assert reason in await local.refusal("setWebhook", **settings)


async def test_faults_hit_the_named_method_the_ordered_number_of_times(local: Local) -> None:
    await local.says(ME, "/start")
    await local.fault("429", "sendMessage", count=2, seconds=9)
    assert await local.call("getMe")
    for _ in range(2):
        answer = await local.http.post(
            f"/bot{TOKEN}/sendMessage", json={"chat_id": ME, "text": "x"}
        )
        assert answer.status_code == 429
        assert answer.json()["parameters"] == {"retry_after": 9}
    assert await local.call("sendMessage", chat_id=ME, text="x")


async def test_a_fault_can_be_limited_to_one_chat_and_cleared(local: Local) -> None:
    await local.says(ME, "/start")
    await local.says(MASHA, "/start")
    await local.fault("502", "sendMessage", chat_id=MASHA, count=5)
    assert await local.call("sendMessage", chat_id=ME, text="fine")
    answer = await local.http.post(f"/bot{TOKEN}/sendMessage", json={"chat_id": MASHA, "text": "x"})
    assert answer.status_code == 502
    assert answer.text.startswith("<html>")
    assert (await local.http.delete("/chat/faults")).json() == {"waiting": []}
    assert await local.call("sendMessage", chat_id=MASHA, text="fine")
