"""What a replica that does not lead does: hand each request on to the one that does."""

import httpx
from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.health import out_of_service
from backend.limits.keys import Keys
from backend.replication.exchange import LEAD_LOST_HEADER, RELAYED_HEADER, Exchange
from backend.replication.leadership import Leadership
from backend.storage.database import DatabaseAway
from web.errors import NoGpu

_OWN_PATHS = ("/livez",)
_PROBES = ("/readyz", "/health")
_HOLD_S = 15.0
"""How long to hold a request while nobody leads."""
_CONNECT_S = 2.0
"""How long to wait for a connection to the leader."""


class Relay:
    """ASGI middleware: answers here while leading, else hands the request to the leader."""

    def __init__(self, app: ASGIApp, leadership: Leadership, keys: Keys) -> None:
        self._app = app
        self._leadership = leadership
        self._keys = keys
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        timeout = httpx.Timeout(None, connect=_CONNECT_S)
        self._http = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        own = scope["type"] != "http" or scope["path"] in _OWN_PATHS
        relayed = not own and RELAYED_HEADER in Headers(scope=scope)
        if own or self._leadership.leading:
            await self._app(scope, receive, self._marking_refusals(send) if relayed else send)
        elif relayed:
            retry_elsewhere = Response(status_code=503, headers={LEAD_LOST_HEADER: "1"})
            await retry_elsewhere(scope, receive, send)
        else:
            await self._hand_on(scope, receive, send)

    def _marking_refusals(self, send: Send) -> Send:
        """Wrap `send` to mark a 503 that was caused by losing the lead meanwhile."""

        async def marking(message: Message) -> None:
            refused = message["type"] == "http.response.start" and message["status"] == 503
            if refused and not self._leadership.leading:
                MutableHeaders(scope=message)[LEAD_LOST_HEADER] = "1"
            await send(message)

        return marking

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if "content-length" in headers or "transfer-encoding" in headers:
            # The leader would refuse it too, but only when all of the body has been read here.
            _, key = get_authorization_scheme_param(headers.get("authorization"))
            self._keys.owner(key)
        probe = scope["path"] in _PROBES
        exchange = Exchange(
            app=self._app,
            leadership=self._leadership,
            http=self._http,
            scope=scope,
            receive=receive,
            send=send,
            hold_s=0.0 if probe else _HOLD_S,
        )
        if await exchange.run():
            return
        away = self._leadership.away_s > 0
        if probe:
            await _probe_answer(scope["path"], away=away)(scope, receive, send)
        elif away:
            raise DatabaseAway
        else:
            raise NoGpu("The scheduling replica is being replaced", retry_after=5)


def _probe_answer(path: str, *, away: bool) -> Response:
    """Answer a health or readiness probe while nobody leads."""
    checks = {"database": "no answer"} if away else {"scheduling": "no replica leads now"}
    if path == "/health":
        return Response(out_of_service(checks).model_dump_json(), media_type="application/json")
    return JSONResponse({"ready": False, "checks": checks}, 503)
