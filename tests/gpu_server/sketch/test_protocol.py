"""Life of sockets and jobs, as it was recorded from ComfyUI 0.3.64."""

import asyncio
import io
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from gpu_server.sketch import create_app, create_server
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


async def test_a_job_without_client_is_shown_to_everybody_in_part(sketch: Comfy) -> None:
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


async def test_the_older_sockets_end_silences_the_newer_one(sketch: Comfy) -> None:
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


async def test_an_interrupt_ends_the_running_job(sketch: Comfy) -> None:
    await sketch.fault("slow", seconds=0.1)
    async with sketch.socket("me") as socket:
        prompt_id = await sketch.post(picture(steps=1000), "me")
        await socket.read_until("progress(")
        other = {"prompt_id": "of another job"}
        assert (await sketch.http.post("/interrupt", json=other)).status_code == 200
        await socket.read_until("progress(")
        await sketch.http.post("/interrupt", json={"prompt_id": prompt_id})
        seen = await socket.read_until("executing(None)")
    assert seen[-3:] == ["execution_interrupted(3 KSampler)", "status(0)", "executing(None)"]
    status = (await sketch.history(prompt_id))["status"]
    assert status["status_str"] == "error"
    assert status["messages"][-1][0] == "execution_interrupted"


async def test_a_deleted_pending_job_leaves_no_trace(sketch: Comfy) -> None:
    await sketch.fault("slow", seconds=0.2)
    async with sketch.socket("me") as socket:
        running = await sketch.post(picture(steps=1000), "me")
        await socket.read_until("progress(")
        pending = await sketch.post(flat(), "me")
        queue = (await sketch.http.get("/queue")).json()
        assert [item[1] for item in queue["queue_running"]] == [running]
        assert [item[1] for item in queue["queue_pending"]] == [pending]
        await sketch.http.post("/queue", json={"delete": [pending, running, "unknown"]})
        await sketch.http.post("/interrupt")
        await socket.read_until("executing(None)")
    assert await sketch.history(pending) == {}
    assert (await sketch.http.get("/prompt")).json() == {"exec_info": {"queue_remaining": 0}}
    assert not any(pending in str(frame) for frame in socket.raw)


async def test_lower_numbers_run_first(sketch: Comfy) -> None:
    await sketch.fault("slow", seconds=0.2)
    async with sketch.socket("me") as socket:
        await sketch.post(picture(steps=1000), "me")
        await socket.read_until("progress(")
        orders: dict[str, dict[str, Any]] = {
            "plain": {},
            "front": {"front": True},
            "first": {"number": -100},
            "half": {"number": 0.5},
        }
        for name, more in orders.items():
            await sketch.post(flat(prefix=name), "me", prompt_id=name, **more)
        await sketch.http.post("/interrupt")
        for _ in range(5):
            await socket.read_until("executing(None)")
    started = [frame["data"]["prompt_id"] for frame in socket.raw[1:] if _starts(frame)]
    assert started[1:] == ["first", "front", "half", "plain"]


def _starts(frame: object) -> bool:
    return isinstance(frame, dict) and frame["type"] == "execution_start"


async def test_an_equal_number_and_id_is_a_500_and_queued_all_the_same(sketch: Comfy) -> None:
    await sketch.fault("slow", seconds=0.2)
    async with sketch.socket("me") as socket:
        await sketch.post(picture(steps=1000), "me")
        await socket.read_until("progress(")
        body = {"prompt_id": "twice", "number": 7, "client_id": "me"}
        answers = [
            await sketch.http.post("/prompt", json={**body, "prompt": flat(color)})
            for color in range(2)
        ]
        assert [answer.status_code for answer in answers] == [200, 500]
        assert len((await sketch.http.get("/queue")).json()["queue_pending"]) == 2
        await sketch.http.post("/interrupt")
        for _ in range(3):
            await socket.read_until("executing(None)")


@pytest.mark.parametrize(
    "deadly",
    [
        {"prompt": flat(), "extra_data": None},
        {"prompt": {**flat(), "3": {"class_type": "EmptyImage"}}},
    ],
    ids=["extra_data null", "unconnected node without inputs"],
)
async def test_what_kills_comfyuis_worker_kills_this_one(
    sketch: Comfy, deadly: dict[str, object]
) -> None:
    assert (await sketch.http.post("/prompt", json=deadly)).status_code == 200
    await sketch.wait_for_queue(running=1, pending=0)
    await sketch.post(flat(2))
    await sketch.wait_for_queue(running=1, pending=1)


async def test_history_can_be_read_in_parts_deleted_and_cleared(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        for name in "abcd":
            await sketch.run(flat(prefix=name), socket, "me", prompt_id=name)
    expected = {
        "": "abcd",
        "max_items=2": "cd",
        "max_items=2&offset=0": "ab",
        "max_items=2&offset=1": "bc",
        "offset=3": "d",
        "max_items=0": "",
        "max_items=-1": "",
        "offset=99": "",
    }
    for query, names in expected.items():
        assert "".join((await sketch.http.get(f"/history?{query}")).json()) == names
    await sketch.http.post("/history", json={"delete": ["b", "unknown"]})
    assert "".join((await sketch.http.get("/history")).json()) == "acd"
    await sketch.http.post("/history", json={"clear": True})
    assert (await sketch.http.get("/history")).json() == {}


async def test_freeing_memory_forgets_the_cache(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        await sketch.run(flat(), socket, "me")
        await sketch.http.post("/free", json={"unload_models": True})
        await sketch.run(flat(), socket, "me")
        assert "execution_cached(1 2)" in socket.frames
        await sketch.http.post("/free", json={"free_memory": True})
        socket.frames.clear()
        await sketch.run(flat(), socket, "me")
        assert "execution_cached()" in socket.frames


async def test_a_failing_node_is_reported_and_the_next_job_runs(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        entry = await sketch.run(flat(prefix="../outside"), socket, "me")
        assert "execution_error(2 SaveImage)" in socket.frames
        name, error = entry["status"]["messages"][-1]
        assert name == "execution_error"
        assert "outside the output folder" in error["exception_message"]
        assert error["executed"] == ["1"]
        assert error["traceback"] == []
        assert (await sketch.run(flat(), socket, "me"))["status"]["completed"]


async def test_view_answers_ranges_and_conditions(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        entry = await sketch.run(flat(), socket, "me")
    image = entry["outputs"]["2"]["images"][0]
    whole = await sketch.http.get("/view", params=image)
    assert whole.headers["content-type"] == "image/png"
    assert whole.headers["content-disposition"] == 'filename="flat_00001_.png"'
    for headers, status in (
        ({"range": "bytes=0-9"}, 206),
        ({"range": "bytes=999999-"}, 416),
        ({"if-none-match": whole.headers["etag"]}, 304),
        ({"if-modified-since": whole.headers["last-modified"]}, 304),
    ):
        answer = await sketch.http.get("/view", params=image, headers=headers)
        assert answer.status_code == status
        if status == 206:
            assert answer.content == whole.content[:10]
    small = await sketch.http.get("/view", params={**image, "preview": "jpeg;50"})
    assert small.headers["content-type"] == "image/jpeg"


async def test_a_body_over_100_mb_is_refused(sketch: Comfy) -> None:
    answer = await sketch.http.post("/prompt", content=b" " * (104857600 + 1))
    assert answer.status_code == 413
    assert answer.text == "Maximum request body size 104857600 exceeded."


async def test_a_foreign_origin_is_refused(sketch: Comfy) -> None:
    foreign = {"origin": "http://evil.example"}
    assert (await sketch.http.get("/queue", headers=foreign)).status_code == 403
    assert (await sketch.http.get("/queue", headers={"origin": sketch.url})).status_code == 200
    with pytest.raises(InvalidStatus):
        await connect(f"{sketch.url.replace('http', 'ws')}/ws", origin=Origin(foreign["origin"]))


async def test_plain_routes_answer(sketch: Comfy) -> None:
    stats = (await sketch.http.get("/system_stats")).json()
    assert stats["system"]["easel_engine"] == "sketch"
    assert (await sketch.http.get("/api/queue")).json() == {
        "queue_running": [],
        "queue_pending": [],
    }
    info = (await sketch.http.get("/object_info")).json()
    assert info["ModelPatchLoader"]["input"]["required"]["name"] == [["patch.safetensors"]]
    assert (await sketch.http.get("/object_info/NoSuchNode")).json() == {}
    assert (await sketch.http.get("/models/checkpoints")).json()[0] == "sd15_random.safetensors"
    assert (await sketch.http.get("/models/nope")).status_code == 404
    assert (await sketch.http.get("/nope")).status_code == 404
    assert (await sketch.http.put("/prompt")).status_code == 405
    assert "without an AI model" in (await sketch.http.get("/")).text


async def test_easel_output_writes_raw_pixels(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        entry = await sketch.run(flat(0x0A141E, "easel/x", "EaselOutput"), socket, "me")
    image = entry["outputs"]["2"]["images"][0]
    assert image == {"filename": "x_00001_.ppm", "subfolder": "easel", "type": "output"}
    assert await sketch.view(image) == b"P6\n64 64\n255\n" + bytes((10, 20, 30)) * 64 * 64


async def test_the_pack_names_itself_and_removes_a_jobs_files(sketch: Comfy) -> None:
    facts = (await sketch.http.get("/easel")).json()
    assert (facts["version"], facts["engine"]) == (1, "sketch")
    uuid.UUID(facts["boot_id"])
    job, other = str(uuid.uuid4()), str(uuid.uuid4())
    async with sketch.socket("me") as socket:
        await sketch.run(flat(1, f"easel/{job}/a", "EaselOutput"), socket, "me")
        kept = await sketch.run(flat(2, f"easel/{other}/a", "EaselOutput"), socket, "me")
    files = {"image": ("p.png", b"x")}
    await sketch.http.post("/upload/image", files=files, data={"subfolder": f"easel/{job}-in"})
    removed = await sketch.http.delete(f"/easel/jobs/{job}")
    assert removed.json() == {"removed": 2}
    await sketch.view(kept["outputs"]["2"]["images"][0])
    assert (await sketch.http.delete(f"/easel/jobs/{job}")).json() == {"removed": 0}
    for wrong in ("x", job[:-1], job.replace("-", "")):
        assert (await sketch.http.delete(f"/easel/jobs/{wrong}")).status_code == 400


async def test_saved_pictures_carry_the_graph(sketch: Comfy) -> None:
    more = {"extra_data": {"extra_pnginfo": {"workflow": {"note": "x"}}}}
    async with sketch.socket("me") as socket:
        entry = await sketch.run(flat(), socket, "me", **more)
    data = await sketch.view(entry["outputs"]["2"]["images"][0])
    with Image.open(io.BytesIO(data)) as image:
        texts = image.info
    assert json.loads(texts["prompt"]) == flat()
    assert json.loads(texts["workflow"]) == {"note": "x"}


async def test_the_server_refuses_anything_but_loopback(tmp_path: Path) -> None:
    app = create_app(tmp_path)
    with pytest.raises(ValueError, match="loopback"):
        create_server(app, "0.0.0.0")


async def test_many_clients_are_served_side_by_side(sketch: Comfy) -> None:
    async def draw(name: str) -> None:
        async with sketch.socket(name) as socket:
            entry = await sketch.run(flat(len(name), name), socket, name)
            assert entry["status"]["completed"]

    async with asyncio.TaskGroup() as tasks:
        for index in range(8):
            tasks.create_task(draw("c" * (index + 1)))


async def test_a_cut_off_upload_is_refused(sketch: Comfy) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = await sketch.http.post("/upload/image", content=b"--b\r\nbroken", headers=headers)
    assert answer.status_code == 400
    assert (await sketch.http.get("/queue")).status_code == 200
