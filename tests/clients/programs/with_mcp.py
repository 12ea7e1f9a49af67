# mypy: ignore-errors
"""The MCP SDK's own client over streamable HTTP."""

import os
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from report import encoded, step

photo = Path(os.environ["PHOTO"])


@asynccontextmanager
async def connected(key=os.environ["EASEL_KEY"]):
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"{os.environ['EASEL_URL']}/mcp", http_client=http)
        async with Client(transport) as client:
            yield client


def pictures(result):
    assert not result.is_error, result.content
    return [part.data for part in result.content if part.type == "image"]


@step
async def lists_tools():
    async with connected() as client:
        return [tool.name for tool in (await client.list_tools()).tools]


@step
async def draws_with_progress():
    steps = []

    async def note(progress, total, message):
        steps.append({"progress": progress, "total": total, "message": message})

    async with connected() as client:
        wanted = {"prompt": "a red fox", "width": 512, "height": 512}
        result = await client.call_tool("draw", wanted, progress_callback=note)
    return {"pictures": pictures(result), "steps": steps}


@step
async def edits():
    async with connected() as client:
        wanted = {"image": encoded(photo), "prompt": "at night"}
        return pictures(await client.call_tool("edit_picture", wanted))


@step
async def is_told_the_styles():
    async with connected() as client:
        result = await client.call_tool("draw", {"prompt": "a lake", "style": "anim"})
    return {"is_error": result.is_error, "text": result.content[0].text}


@step
async def is_told_that_the_key_is_wrong():
    async with connected("not-the-key"):
        pass
