"""A backend that is killed under its agents, and one without keys."""

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
from mcp import Client

from tests.backend.mcp.agents import Told, over_http, stdio
from tests.backend.mcp.test_tools import refusal
from tests.backend.processes import Backend, Farm, started

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
HEADERS = {"Accept": "application/json, text/event-stream"}


async def test_a_backend_that_is_killed_costs_agents_one_answer(
    farm: Farm, slow: None, tmp_path: Path
) -> None:
    backend = Backend(tmp_path, farm.urls)
    told = Told()
    async with started(backend), httpx.AsyncClient() as http, AsyncExitStack() as agents:
        await backend.up(http)
        agent = await agents.enter_async_context(Client(stdio(backend.url, "")))
        others = [
            await agents.enter_async_context(over_http(backend.url, "", mode))
            for mode in ("auto", "legacy")
        ]
        request = {"mode": "tiny", "prompt": "a lake", "steps": 3}
        call = asyncio.create_task(agent.call_tool("draw", request, progress_callback=told))
        await told.draws.wait()
        backend.kill()
        said = (await call).content[0].text  # type: ignore[union-attr]
        assert "It may go on: ask generation_status for" in said
        generation = re.findall(r"[0-9a-f-]{36}", said)[0]
        assert "No answer" in await refusal(agent, "list_modes", {})

        backend.start()
        await backend.up(http)
        for one in (agent, *others):
            while True:
                looked = await one.call_tool("generation_status", {"id": generation})
                if looked.structured_content["status"] not in ("queued", "running"):
                    break
                await asyncio.sleep(0.1)
            assert looked.structured_content["status"] == "succeeded"

        foreign = {**HEADERS, "Origin": "http://evil.example"}
        answer = await http.post(f"{backend.url}/mcp", json=LIST, headers=foreign)
        assert answer.status_code == 403
        answer = await http.post(f"{backend.url}/mcp", json=LIST, headers=HEADERS)
        assert answer.json()["result"]["tools"]
        lines = backend.output().splitlines()
    assert all("a lake" not in line and "session manager" not in line for line in lines)
