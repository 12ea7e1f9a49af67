"""The tools, driven by the SDK's own client over HTTP and over stdio."""

import asyncio
import base64
import io
import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ImageContent, ResourceLink, TextContent
from PIL import Image

from tests.backend.mcp.agents import (
    ALICE,
    BOB,
    Backend,
    Told,
    over_http,
    photo_text,
)
from tests.services import SHIPPED_MODES

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL = {"width": 256, "height": 256}


def text(result: CallToolResult) -> str:
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


def opened(result: CallToolResult, number: int = 0) -> Image.Image:
    content = result.content[1 + number]
    assert isinstance(content, ImageContent), content
    return Image.open(io.BytesIO(base64.b64decode(content.data)))


async def refusal(agent: Client, tool: str, arguments: dict[str, Any]) -> str:
    result = await agent.call_tool(tool, arguments)
    assert result.is_error, result
    return text(result)


async def test_the_tools_offer_what_the_catalogue_has(agent: Client) -> None:
    tools = {tool.name: tool for tool in (await agent.list_tools()).tools}
    names = ["list_modes", "draw", "edit_picture", "generation_status", "cancel_generation"]
    assert list(tools) == names
    draw, edit = tools["draw"].input_schema, tools["edit_picture"].input_schema
    assert draw["properties"]["mode"]["enum"] == ["free"]
    assert draw["required"] == ["prompt"]
    assert "anime" in draw["properties"]["style"]["enum"]
    assert draw["properties"]["count"]["maximum"] == 10
    assert edit["properties"]["mode"]["default"] == "restyle"
    assert edit["required"] == ["image"]
    assert edit["properties"]["strength"]["maximum"] == 1
    assert "id of an earlier generation" in edit["properties"]["image"]["description"]


async def test_modes_are_listed_with_their_styles_and_whether_they_can_draw(agent: Client) -> None:
    result = await agent.call_tool("list_modes", {})
    modes = result.structured_content["modes"]
    assert [mode["name"] for mode in modes] == SHIPPED_MODES
    assert all(mode["available"] for mode in modes)
    assert "anime" in [style["name"] for style in modes[0]["styles"]]
    assert json.loads(text(result)) == {"modes": modes}


async def test_a_picture_is_drawn_with_progress(agent: Client, backend: Backend) -> None:
    told = Told()
    arguments = {"prompt": "a lighthouse", "style": "anime", "seed": 5, "count": 2, **SMALL}
    result = await agent.call_tool("draw", arguments, progress_callback=told)
    drawn = result.structured_content
    assert (drawn["mode"], drawn["style"], drawn["seed"]) == ("free", "anime", 5)
    assert drawn["engine"].startswith("sketch")
    assert backend.status(drawn["id"]) == "succeeded"
    assert [picture["seed"] for picture in drawn["pictures"]] == [5, 6]
    for number in (0, 1):
        image = opened(result, number)
        assert (image.format, image.size) == ("WEBP", (256, 256))
    assert [done for done, _, _ in told] == sorted({done for done, _, _ in told})
    assert {total for _, total, _ in told} == {1.0}
    assert any(message.startswith(("in line", "sampling")) for _, _, message in told if message)


async def test_a_photo_and_an_earlier_picture_are_drawn_anew(agent: Client) -> None:
    first = await agent.call_tool(
        "edit_picture", {"image": photo_text(), "style": "anime", **SMALL}
    )
    assert opened(first).size == (256, 256)
    earlier = {"image": first.structured_content["id"], "prompt": "in snow", **SMALL}
    second = await agent.call_tool("edit_picture", earlier)
    assert opened(second).size == (256, 256)
    as_url = {"image": f"data:image/jpeg;base64,{photo_text()}", "format": "jpeg", **SMALL}
    assert opened(await agent.call_tool("edit_picture", as_url)).format == "JPEG"


async def test_a_large_picture_is_a_link_that_can_be_read(agent: Client) -> None:
    arguments = {"prompt": "a forest", "seed": 1, "width": 1448, "height": 1448}
    result = await agent.call_tool("draw", {**arguments, "format": "png"})
    link = result.content[1]
    assert isinstance(link, ResourceLink)
    assert link.size is not None
    assert link.size > 750_000
    assert link.uri == result.structured_content["pictures"][0]["url"]
    contents = (await agent.read_resource(link.uri)).contents
    data = base64.b64decode(contents[0].blob)  # type: ignore[union-attr]
    assert len(data) == link.size
    key = {"Authorization": f"Bearer {ALICE}"} if "/generations/" in link.uri else {}
    async with httpx.AsyncClient(headers=key, trust_env=False) as http:
        assert (await http.get(link.uri)).content == data


async def test_a_cancelled_call_cancels_its_generation(
    agent: Client, backend: Backend, slowly: None
) -> None:
    told = Told()
    call = asyncio.create_task(
        agent.call_tool("draw", {"prompt": "a slow fox", **SMALL}, progress_callback=told)
    )
    await told.draws.wait()
    (generation,) = backend.generations("queued", "running")
    call.cancel()
    await ended(backend, generation)
    assert backend.status(generation) == "cancelled"


async def ended(backend: Backend, generation: str) -> None:
    while backend.status(generation) in ("queued", "running"):
        await asyncio.sleep(0.05)


async def test_a_generation_is_looked_at_and_cancelled_by_its_id(
    agent: Client, backend: Backend, slowly: None
) -> None:
    with backend.http() as http:
        generation = str(uuid4())
        http.put(f"/generations/{generation}", json={"prompt": "a slow fox", **SMALL})
    looked = await agent.call_tool("generation_status", {"id": generation})
    assert looked.structured_content["status"] in ("queued", "running")
    assert looked.structured_content["pictures"] == []
    stopped = await agent.call_tool("cancel_generation", {"id": generation})
    assert stopped.structured_content["outcome"] in ("cancelled", "stopping")
    await ended(backend, generation)
    again = await agent.call_tool("cancel_generation", {"id": generation})
    assert again.structured_content["outcome"] == "already_ended"
    assert backend.status(generation) == "cancelled"


async def test_cancelling_what_has_ended_keeps_its_pictures(agent: Client) -> None:
    drawn = await agent.call_tool("draw", {"prompt": "a fox", **SMALL})
    its = {"id": drawn.structured_content["id"]}
    cancelled = await agent.call_tool("cancel_generation", its)
    assert cancelled.structured_content["outcome"] == "already_ended"
    looked = await agent.call_tool("generation_status", its)
    assert looked.structured_content["status"] == "succeeded"
    assert opened(looked).size == (256, 256)


async def test_two_agents_at_once_get_their_own_pictures(agent: Client, backend: Backend) -> None:
    async with over_http(backend.url, BOB) as other:
        same = {"prompt": "x", "seed": 9, **SMALL}
        calls = (one.call_tool("draw", same) for one in (agent, other))
        results = await asyncio.gather(*calls)
        assert opened(results[0]).tobytes() == opened(results[1]).tobytes()
        theirs = {"id": results[1].structured_content["id"]}
        assert "no such generation" in await refusal(agent, "generation_status", theirs)
        assert "no such generation" in await refusal(agent, "cancel_generation", theirs)
        stolen = await refusal(agent, "edit_picture", {"image": theirs["id"]})
        assert "no such generation" in stolen


BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    ("draw", {}, ["prompt: is required"]),
    ("draw", {"prompt": 5}, ["prompt: must be a text"]),
    ("draw", {"prompt": "x", "style": "anim"}, ["did you mean 'anime'", "realism"]),
    ("draw", {"prompt": "x", "mode": "fre"}, ["did you mean 'free'"]),
    ("draw", {"prompt": "x", "mode": "restyle"}, ["of edit_picture", "free"]),
    ("draw", {"prompt": "x", "count": 99}, ["count: is out of range", "from 1 to 10"]),
    ("draw", {"prompt": "x", "width": 256}, ["height: is required together with width"]),
    ("draw", {"prompt": "x", "format": "gif"}, ["format", "webp"]),
    ("draw", {"prompt": "x", "promt": "y"}, ["promt: is not a known field", "prompt"]),
    ("draw", {"prompt": "x", "user": "somebody"}, ["user: is not a known field"]),
    ("draw", {"prompt": "x", "seed": "7"}, ["seed: must be a whole number"]),
    ("draw", {"prompt": "x", "image": photo_text()}, ["image: is not a known field"]),
    ("draw", {"prompt": "x", "mode": ["free"]}, ["mode"]),
    ("draw", {"prompt": "a naked child"}, ["does not draw this"]),
    ("edit_picture", {}, ["image: is required"]),
    ("edit_picture", {"image": 5}, ["image: must be a base64 text"]),
    ("edit_picture", {"image": "no photo!"}, ["image: is not valid base64", "PNG, JPEG or WebP"]),
    ("edit_picture", {"image": "http://127.0.0.1/x.png"}, ["image: is not valid base64"]),
    ("edit_picture", {"image": photo_text()[:400]}, ["image: is damaged or cut off"]),
    ("edit_picture", {"image": "A" * 27_000_000}, ["image: has over 20 MB"]),
    ("edit_picture", {"image": str(UUID(int=7))}, ["There is no such generation"]),
    ("edit_picture", {"image": photo_text(), "strength": 7}, ["strength", "from 0 to 1"]),
    ("generation_status", {}, ["id: is required"]),
    ("generation_status", {"id": "7"}, ["id: must be the id of a generation"]),
    ("generation_status", {"id": 7}, ["id: must be the id of a generation"]),
    ("cancel_generation", {"id": str(UUID(int=7))}, ["There is no such generation"]),
    ("list_modes", {"mode": "free"}, ["mode: is not known"]),
    ("paint", {}, ["There is no tool 'paint'"]),
]


async def test_what_is_wrong_is_said_in_a_sentence(agent: Client, backend: Backend) -> None:
    before = backend.generations("queued", "running", "succeeded", "failed", "cancelled")
    for tool, arguments, expected in BAD:
        said = await refusal(agent, tool, arguments)
        assert all(part in said for part in expected), (tool, expected, said)
        assert "Traceback" not in said
        assert "/" not in said.replace("tools/list", ""), said
    assert backend.generations("queued", "running", "succeeded", "failed", "cancelled") == before


async def test_an_address_from_elsewhere_is_not_read(agent: Client) -> None:
    for uri in ("file:///etc/passwd", f"http://x/generations/{UUID(int=7)}/images/0", "easel:x"):
        with pytest.raises(MCPError, match=r"not the address|no such generation"):
            await agent.read_resource(uri)
