"""One attempt to deliver: a POST to an address that may be called, and what came of it."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from backend.webhooks.addresses import Addresses, is_public
from web import VERSION

TIMEOUT_S = 15.0
"""How long a receiver may take to answer, connecting included."""
_KEEP_ALIVE_S = 4.0
"""How long an idle connection is kept: less than most servers keep it, which would race."""
_GONE = 410
_BUSY = (429, 503)
_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": f"Easel/{VERSION} (webhooks)",
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True)
class Verdict:
    """What came of an attempt; `reason` is for the log, without the URL."""

    outcome: Literal["delivered", "gone", "failed"]
    reason: str = ""
    retry_after_s: float = 0.0


class AddressRefused(OSError):
    """The receiver's name stands for an address that webhooks may not have."""


def _guarded(info: tuple[Any, ...]) -> socket.socket:
    """Make the socket for a connection, unless its address is not of the Internet.

    This is the very address that is connected to: DNS cannot answer differently afterwards.
    """
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        raise AddressRefused
    return socket.socket(family, kind, protocol)


@dataclass(kw_only=True)
class Sender:
    """Posts to receivers; open in the event loop that uses it, and `close` in the end.

    `resolver` asks DNS; by default the system does.
    """

    addresses: Addresses
    timeout_s: float = TIMEOUT_S
    resolver: Callable[[], AbstractResolver] | None = None
    _named: aiohttp.ClientSession = field(init=False)
    _others: aiohttp.ClientSession = field(init=False)

    def __post_init__(self) -> None:
        self._named = self._session()
        self._others = self._session(socket_factory=_guarded)

    def _session(self, **options: Any) -> aiohttp.ClientSession:
        resolver = self.resolver() if self.resolver else None
        # Names are looked up each time: between two attempts a receiver may move.
        connector = aiohttp.TCPConnector(
            limit=0,
            use_dns_cache=False,
            resolver=resolver,
            keepalive_timeout=_KEEP_ALIVE_S,
            **options,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self.timeout_s),
            auto_decompress=False,
            trust_env=False,
            headers=_HEADERS,
        )

    async def close(self) -> None:
        await asyncio.gather(self._named.close(), self._others.close())

    async def post(self, text: str, body: bytes, headers: Mapping[str, str]) -> Verdict:
        """Post once; follow no redirect and read nothing but the answer's head."""
        fault = self.addresses.fault_in(text)  # the rules may have changed since it was accepted
        if fault is not None:
            return Verdict("failed", f"the address {fault}")
        url = URL(text)
        session = self._named if self.addresses.is_named(url) else self._others
        try:
            async with session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return _verdict(answer.status, answer.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Verdict("failed", _reason(error))


def _verdict(status: int, retry_after: str) -> Verdict:
    if 200 <= status < 300:
        return Verdict("delivered")
    if status == _GONE:
        return Verdict("gone", f"HTTP {status}")
    pause = _seconds(retry_after) if status in _BUSY else 0.0
    return Verdict("failed", f"HTTP {status}", pause)


def _seconds(retry_after: str) -> float:
    """Return the seconds of a Retry-After header, which holds seconds or a date."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    with suppress(ValueError, TypeError):
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    return 0.0


def _reason(error: Exception) -> str:
    """Name a failure. Messages quote the URL, so that only kinds are named."""
    cause = getattr(error, "os_error", None) or error.__cause__ or error
    if isinstance(cause, AddressRefused):
        return "its name stands for an address in a private or reserved network"
    return f"{type(error).__name__}: {type(cause).__name__}"
