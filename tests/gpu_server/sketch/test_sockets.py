"""Life of sockets, as recorded from ComfyUI 0.3.64."""

import asyncio
import json

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from tests.gpu_server.sketch.comfy import Comfy, flat, picture


async def test_the_first_frame_names_the_session(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        assert socket.raw[0]["data"]["sid"] == "me"
    async with sketch.socket("") as nameless:
        assert len(nameless.raw[0]["data"]["sid"]) == 32


async def test_feature_flags_count_only_as_the_first_json_message(sketch: Comfy) -> None:
    flags = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    async with sketch.socket("late") as socket:
        await socket.connection.send("no json")
        await socket.connection.send(json.dumps({"type": "hello"}))
        await socket.connection.send(flags)
        await sketch.run(flat(), socket, "late")
        assert "feature_flags" not in socket.frames
    async with sketch.socket("early") as socket:
        await socket.connection.send("no json")
        await socket.connection.send(flags)
        assert await socket.read() == "feature_flags"
        assert socket.raw[-1]["data"]["max_upload_size"] == 104857600


async def test_previews_with_metadata_come_before_their_progress(sketch: Comfy) -> None:
    async with sketch.socket("flagged", previews_with_metadata=True) as socket:
        await sketch.run(picture(), socket, "flagged")
    first = socket.frames.index("preview(4 jpeg)")
    assert socket.frames[first + 1] == "progress(3 1/2)"
    head = socket.raw[first]
    length = int.from_bytes(head[4:8], "big")
    metadata = json.loads(head[8 : 8 + length])
    assert metadata["node_id"] == "3"
    assert metadata["image_type"] == "image/jpeg"
    assert head[8 + length :].startswith(b"\xff\xd8")


async def test_some_frames_of_a_job_without_client_go_to_everyone(sketch: Comfy) -> None:
    async with sketch.socket("a") as first, sketch.socket("b") as second:
        await sketch.post(picture())
        for socket in (first, second):
            seen = await socket.read_until("status(0)")
            kinds = {frame.partition("(")[0] for frame in seen}
            assert kinds == {"status", "progress_state", "progress", "preview"}


async def test_the_newest_socket_owns_the_client_id(sketch: Comfy) -> None:
    async with sketch.socket("me") as older, sketch.socket("me") as newer:
        await sketch.run(flat(), newer, "me")
        assert older.frames == ["status(0 sid)"]


async def test_the_end_of_an_older_socket_silences_the_newer_one(sketch: Comfy) -> None:
    async with sketch.socket("me") as older, sketch.socket("other") as other:
        async with sketch.socket("me") as newer:
            await older.connection.close()
            await sketch.run(flat(), other, "other")
            await (await newer.connection.ping())
            assert newer.frames == ["status(0 sid)"]
        async with sketch.socket("me") as fresh:
            await sketch.run(flat(2), fresh, "me")


async def test_a_client_that_reconnects_is_told_the_running_node(sketch: Comfy) -> None:
    await sketch.fault("slow", seconds=0.3)
    async with sketch.socket("me") as socket:
        prompt_id = await sketch.post(picture(steps=4), "me")
        await socket.read_until("progress(")
    async with sketch.socket("me") as again:
        assert again.frames == ["status(1 sid)"]
        assert await again.read() == "executing(3)"
        assert "prompt_id" not in again.raw[-1]["data"]
        await sketch.http.request("DELETE", "/sketch/faults")
        assert "execution_success" in await again.read_until("executing(None)")
    assert (await sketch.history(prompt_id))["status"]["completed"]


async def test_a_foreign_origin_is_refused(sketch: Comfy) -> None:
    foreign = {"origin": "http://evil.example"}
    assert (await sketch.http.get("/queue", headers=foreign)).status_code == 403
    assert (await sketch.http.get("/queue", headers={"origin": sketch.url})).status_code == 200
    with pytest.raises(InvalidStatus):
        await connect(f"{sketch.url.replace('http', 'ws')}/ws", origin=Origin(foreign["origin"]))


async def test_many_clients_are_served_side_by_side(sketch: Comfy) -> None:
    async def draw(name: str) -> None:
        async with sketch.socket(name) as socket:
            entry = await sketch.run(flat(len(name), name), socket, name)
            assert entry["status"]["completed"]

    async with asyncio.TaskGroup() as tasks:
        for index in range(8):
            tasks.create_task(draw("c" * (index + 1)))
