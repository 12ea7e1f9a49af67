"""One attempt against every kind of receiver, with real sockets."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from backend.webhooks.addresses import Addresses
from backend.webhooks.sender import Sender, Verdict
from gpu_server.pictures import certificates
from tests.backend.processes import free_ports
from tests.backend.webhooks.receiver import receiving, with_status

HERE = Addresses(["127.0.0.1"])
BODY = b"{}"


@asynccontextmanager
async def sending(
    addresses: Addresses = HERE, timeout_s: float = 15.0, resolver: AbstractResolver | None = None
) -> AsyncIterator[Sender]:
    resolve = (lambda: resolver) if resolver else None
    sender = Sender(addresses=addresses, timeout_s=timeout_s, resolver=resolve)
    try:
        yield sender
    finally:
        await sender.close()


class Resolver(AbstractResolver):
    """A name server of the attacker's: each question gets the next answer, the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002
    ) -> list[ResolveResult]:
        self.asked += 1
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_every_2xx_is_a_delivery(status: int) -> None:
    async with receiving(with_status(status)) as receiver, sending() as sender:
        assert await sender.post(receiver.url(), BODY, {}) == Verdict("delivered")
        assert receiver.told[0].body == BODY


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_not_followed(status: int) -> None:
    async with receiving() as inner:
        redirect = with_status(status, Location=inner.url("/secret"))
        async with receiving(redirect) as receiver, sending() as sender:
            verdict = await sender.post(receiver.url(), BODY, {})
            assert verdict == Verdict("failed", f"HTTP {status}")
        assert inner.told == []


async def test_410_ends_it_and_other_errors_do_not() -> None:
    for status, outcome in ((410, "gone"), (404, "failed"), (400, "failed"), (500, "failed")):
        async with receiving(with_status(status)) as receiver, sending() as sender:
            assert (await sender.post(receiver.url(), BODY, {})).outcome == outcome


async def test_a_busy_receiver_says_when_to_come_back() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    for status, header, least, most in (
        (429, "120", 120, 120),
        (503, date, 80, 91),
        (503, "soon", 0, 0),
        (503, "-5", 0, 0),
        (500, "120", 0, 0),
    ):
        answer = with_status(status, **{"Retry-After": header})
        async with receiving(answer) as receiver, sending() as sender:
            verdict = await sender.post(receiver.url(), BODY, {})
        assert least <= verdict.retry_after_s <= most, header


async def test_an_answer_without_end_is_not_read() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65536))
            sent += 65536

    async with receiving(endless) as receiver, sending() as sender:
        assert (await sender.post(receiver.url(), BODY, {})).outcome == "delivered"
        assert sent < 50_000_000


async def test_headers_without_end_are_cut_off() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n")
        try:
            while True:
                writer.write(b"X-More: " + bytes([97]) * 4000 + b"\r\n")
                await writer.drain()
                sent += 4000
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with sending(timeout_s=5) as sender:
        verdict = await sender.post(f"http://127.0.0.1:{port}/", BODY, {})
    server.close()
    assert verdict.outcome == "failed"
    assert sent < 20_000_000


async def test_silence_ends_with_the_timeout_and_a_dead_receiver_at_once() -> None:
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    async with receiving(silent) as receiver, sending(timeout_s=0.2) as sender:
        assert (await sender.post(receiver.url(), BODY, {})).outcome == "failed"
        (port,) = free_ports(1)
        dead = await sender.post(f"http://127.0.0.1:{port}/?token=abc", BODY, {})
    assert dead.outcome == "failed"
    assert "token" not in dead.reason


async def test_a_certificate_that_nobody_vouches_for_is_a_failure(tmp_path: Path) -> None:
    certificates.ensure(tmp_path / "tls")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(
        tmp_path / "tls" / certificates.CERTIFICATE, tmp_path / "tls" / certificates.KEY
    )
    heard = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with sending() as sender:
        verdict = await sender.post(f"https://127.0.0.1:{port}/", BODY, {})
    server.close()
    assert verdict.outcome == "failed"
    assert "Certificate" in verdict.reason
    assert not heard.is_set()


async def test_a_name_that_stands_for_a_private_address_is_never_connected_to() -> None:
    names = [["127.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["0.0.0.0"]]
    async with receiving() as receiver:
        for answer in names:
            async with sending(Addresses(), resolver=Resolver(answer)) as sender:
                url = receiver.url(host="hooks.example.org").replace("http:", "https:")
                verdict = await sender.post(url, BODY, {})
            assert "private" in verdict.reason, (answer, verdict)
        assert receiver.told == []


async def test_an_answer_of_dns_that_changes_between_two_looks_reaches_no_private_address() -> None:
    connected = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    # An address of the Internet that nobody has, then our own host.
    resolver = Resolver(["2606:4700:ffff:ffff::1"], ["127.0.0.1"])
    async with sending(Addresses(), timeout_s=1, resolver=resolver) as sender:
        for _ in range(3):
            verdict = await sender.post(f"https://hooks.example.org:{port}/", BODY, {})
            assert verdict.outcome == "failed"
    server.close()
    assert resolver.asked == 3
    assert not connected.is_set()


async def test_spellings_that_only_the_system_reads_as_an_address_are_not_called() -> None:
    async with receiving() as receiver, sending(Addresses()) as sender:
        for host in ("2130706433", "0x7f.1", "127.1", "localhost", "①②⑦.⓪.⓪.①"):
            await sender.post(f"https://{host}:{receiver.port}/", BODY, {})
            await sender.post(f"http://{host}:{receiver.port}/", BODY, {})
        assert receiver.told == []


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving(with_status(500)) as proxy, receiving() as receiver:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        monkeypatch.delenv("no_proxy", raising=False)
        async with sending() as sender:
            assert (await sender.post(receiver.url(), BODY, {})).outcome == "delivered"
        assert proxy.told == []
