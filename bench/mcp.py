"""Measure what the Model Context Protocol costs the backend: at the first call, and after many.

Memory is the proportional share (PSS) in MB of a backend without a pod, asked by the SDK's own
client in both eras of the protocol.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench.harness.services import memory_mb
from bench.report import finish, machine, parser
from tests.backend.mcp.agents import over_http
from tests.backend.processes import Backend, started

NO_PODS = ["http://127.0.0.1:9"]
CALLS = 300
_ERAS = {"current": "auto", "earlier": "legacy"}


async def measure() -> dict[str, Any]:
    figures: dict[str, Any] = {"machine": machine(), "calls": CALLS}
    with tempfile.TemporaryDirectory() as folder:
        backend = Backend(Path(folder), NO_PODS)
        async with started(backend), httpx.AsyncClient() as http:
            await backend.up(http, "/livez")
            figures["idle_mb"] = memory_mb(backend.pid)
            began = time.perf_counter()
            async with over_http(backend.url, "") as agent:
                await agent.list_tools()
            figures["first_answer_s"] = time.perf_counter() - began
            figures["after_first_mb"] = memory_mb(backend.pid)
            for era, mode in _ERAS.items():
                figures[era] = await _call_often(backend, mode)
    return figures


async def _call_often(backend: Backend, mode: str) -> dict[str, float]:
    async with over_http(backend.url, "", mode) as agent:
        for _ in range(CALLS):  # what is made once is made now
            await agent.call_tool("list_modes", {})
        before, began = memory_mb(backend.pid), time.perf_counter()
        for _ in range(CALLS):
            await agent.call_tool("list_modes", {})
        took = time.perf_counter() - began
        return {
            "grown_mb": memory_mb(backend.pid) - before,
            "ms_each": took / CALLS * 1000,
        }


def main() -> int:
    options = parser("mcp", __doc__).parse_args()
    return finish("mcp", asyncio.run(measure()), options.output)


if __name__ == "__main__":
    sys.exit(main())
