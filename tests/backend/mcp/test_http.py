"""`/mcp` itself: keys, bodies, hanging up, and what stays after many calls."""

import asyncio
import gc
import json
import socket
import threading
from typing import Any

import httpx
import pytest
from mcp.server.streamable_http import StreamableHTTPServerTransport
from mcp_types import CallToolResult

from tests.backend.mcp.agents import ALICE, Backend, over_http

HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
SMALL = {"width": 256, "height": 256}


def call(tool: str, arguments: dict[str, Any], number: int = 1) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": number}}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def test_a_wrong_key_is_refused_before_the_body_is_read(backend: Backend) -> None:
    address = httpx.URL(backend.url)
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {address.netloc.decode()}\r\n"
        "Authorization: Bearer wrong\r\nContent-Type: application/json\r\n"
        "Content-Length: 1000\r\n\r\n"
    )
    with socket.create_connection((address.host, address.port or 80), 20) as connection:
        connection.sendall(head.encode())  # and no body
        answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 401")
    assert "www-authenticate: bearer" in answer.lower()
    assert "A valid key is needed" in answer


def test_only_posts_are_taken(backend: Backend) -> None:
    with backend.http() as http:
        for method in ("GET", "DELETE", "PUT"):
            answer = http.request(method, "/mcp", headers=HEADERS)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"7", 400),
        (b'{"jsonrpc": "2.0", "id": 1, "method": 5}', 400),
        (b"[" * 100_000, 400),
        (b'{"method": "notifications/cancelled"', 202),
        (b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": [1]}', 202),
        (b"x" * 31_000_000, 413),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_body_that_is_no_message_is_refused(backend: Backend, body: bytes, status: int) -> None:
    with backend.http() as http:
        for more in ({}, {"MCP-Protocol-Version": "2026-07-28"}):
            answer = http.post("/mcp", content=body, headers=HEADERS | more)
            assert answer.status_code == status, answer.text
            assert "Traceback" not in answer.text


def test_not_a_number_is_no_seed(backend: Backend) -> None:
    body = json.dumps(call("draw", {"prompt": "x", "seed": float("nan")}))
    assert "NaN" in body
    with backend.http() as http:
        answer = http.post("/mcp", content=body, headers=HEADERS).text
    assert "seed: must be a whole number" in answer


async def test_hanging_up_cancels_the_generation(backend: Backend, slowly: None) -> None:
    """Without any word: the agent's process was killed."""
    body = call("draw", {"prompt": "a slow fox", **SMALL})
    headers = HEADERS | {"Authorization": f"Bearer {ALICE}"}
    async with (
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
        http.stream("POST", f"{backend.url}/mcp", json=body, headers=headers) as answer,
    ):
        async for line in answer.aiter_lines():
            if "progress" in line:
                break
        (generation,) = backend.generations("queued", "running")
    while backend.status(generation) in ("queued", "running"):
        await asyncio.sleep(0.05)
    assert backend.status(generation) == "cancelled"


async def test_an_earlier_clients_word_cancels_only_its_own_call(
    backend: Backend, slowly: None
) -> None:
    """Two clients with one key number their calls alike."""

    async def draw(session: str) -> httpx.Response:
        headers = HEADERS | {"Mcp-Session-Id": session, "Mcp-Protocol-Version": "2025-11-25"}
        async with httpx.AsyncClient(base_url=backend.url, trust_env=False, timeout=60) as http:
            http.headers["Authorization"] = f"Bearer {ALICE}"
            return await http.post(
                "/mcp", json=call("draw", {"prompt": "x", **SMALL}), headers=headers
            )

    calls = [asyncio.create_task(draw(session)) for session in ("one", "two")]
    while len(begun := backend.generations("queued", "running")) < 2:
        await asyncio.sleep(0.05)
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    with backend.http() as http:
        answer = http.post("/mcp", json=note, headers=HEADERS | {"Mcp-Session-Id": "one"})
        assert answer.status_code == 202
        assert http.post("/mcp", json=note, headers=HEADERS).status_code == 202
    first, second = await asyncio.gather(*calls)
    assert '"isError":true' in first.text
    assert '"isError":false' in second.text
    assert sorted(map(backend.status, begun)) == ["cancelled", "succeeded"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_nothing_stays_of_a_hundred_calls(backend: Backend, mode: str) -> None:
    async with over_http(backend.url, ALICE, mode) as agent:

        async def once() -> CallToolResult:
            return await agent.call_tool("generation_status", {"id": "no id"})

        for _ in range(5):  # what is made once
            await once()
        before = alive()
        for _ in range(100):
            assert (await once()).is_error
        after = alive()
    few = 5  # those of the last call may still be there
    assert all(after[kind] < before[kind] + few for kind in before), (before, after)


def alive() -> dict[str, int]:
    """Count what exists in this process, the backend's thread included."""
    gc.collect()
    found = gc.get_objects()
    return {
        "sessions": sum(isinstance(one, StreamableHTTPServerTransport) for one in found),
        "tasks": sum(isinstance(one, asyncio.Task) and not one.done() for one in found),
        "threads": threading.active_count(),
    }
