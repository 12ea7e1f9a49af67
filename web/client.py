"""What our clients share: one place where transport errors and problems become exceptions."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent

from web.errors import EaselError, EngineLost, error_from_answer

QUIET_S = 30.0
"""An event stream that is silent for so long, heartbeats included, is dead."""


class Peer:
    """One of our HTTP services, over one pool of connections.

    `lost` is raised when it cannot be reached or breaks off; `headers` go with every request.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        lost: type[EaselError] = EngineLost,
        headers: Callable[[], dict[str, str]] = dict,
    ) -> None:
        self.http = http
        self._lost = lost
        self._headers = headers

    async def close(self) -> None:
        await self.http.aclose()

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer, if it is not an error; raises what its problem stands for."""
        headers = self._headers() | options.pop("headers", {})
        try:
            answer = await self.http.request(method, path, headers=headers, **options)
        except httpx.HTTPError as error:
            raise self._lost(f"No answer: {type(error).__name__}") from error
        if answer.status_code >= 400:
            raise self._error(answer)
        return answer

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, **options: Any
    ) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
        """An event stream; raises as `request` does, also when it breaks off."""
        headers = self._headers() | {"Accept": "text/event-stream", **options.pop("headers", {})}
        timeout = httpx.Timeout(10, read=QUIET_S)
        try:
            async with self.http.stream(
                method, path, headers=headers, timeout=timeout, **options
            ) as answer:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise self._error(answer)
                yield EventSource(answer).aiter_sse()
        except httpx.HTTPError as error:
            raise self._lost(f"The event stream broke off: {type(error).__name__}") from error

    def _error(self, answer: httpx.Response) -> EaselError:
        retry_after = answer.headers.get("retry-after")
        return error_from_answer(answer.status_code, answer.content, retry_after, self._lost)


def pool(url: str, token: str = "", *, connections: int = 100) -> httpx.AsyncClient:
    """A pool for one peer; `token` is sent as a bearer token."""
    return httpx.AsyncClient(
        base_url=url,
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=httpx.Timeout(10, connect=3),
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        trust_env=False,
    )
