"""`POST /mcp`: the tools over streamable HTTP, behind the same keys as every route.

Each request gets an MCP server of its own, and nothing of it stays: whichever process leads serves
the next one as well.
"""

import asyncio
import importlib
import json
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from starlette.types import Receive, Scope, Send

from backend.links import Links
from backend.mcp.calls import Calls
from backend.mcp.here import Here
from backend.replication.leadership import RELAYED_KEY
from backend.routes.context import Owner, Person, Service, owner_of
from backend.state import State

_CANCELLED = b"notifications/cancelled"
_LONGEST_NOTE = 10_000
"""A longer body is no notification."""


def router() -> APIRouter:
    routes, calls = APIRouter(), Calls()

    async def mcp(request: Request, service: Service, owner: Owner, person: Person) -> Response:
        body = await request.body()
        if len(body) < _LONGEST_NOTE and _CANCELLED in body:
            calls.cancel(owner, request.headers, _note(body))
            return Response(status_code=202)
        key = request.headers.get("idempotency-key", "")
        here = Here(
            service=service,
            owner=owner,
            links=Links.of(State.of(request.app).keys.keys),
            base_url=str(service.public_url or request.base_url).rstrip("/"),
            person=person,
            key=key if key.startswith(RELAYED_KEY) else None,
        )
        return _Served(here, calls, body)

    routes.post("/mcp", dependencies=[Depends(owner_of)], include_in_schema=False)(mcp)
    return routes


class _Served(Response):
    """An answer that the SDK writes."""

    def __init__(self, here: Here, calls: Calls, body: bytes) -> None:
        super().__init__()
        self._here, self._calls, self._content = here, calls, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # In a thread, since the first import takes 0.8 s (see the package).
        transport = await asyncio.to_thread(importlib.import_module, "backend.mcp.transport")
        await transport.serve(self._here, self._calls, self._content, scope, receive, send)


def _note(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
