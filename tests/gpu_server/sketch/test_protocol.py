"""Life of jobs and plain routes, as recorded from ComfyUI 0.3.64."""

from pathlib import Path
from typing import Any

import pytest

from gpu_server.sketch import create_app, create_server
from tests.gpu_server.sketch.comfy import Comfy, flat, picture


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


async def test_an_equal_number_and_id_is_a_500_but_queued(sketch: Comfy) -> None:
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
async def test_a_job_that_kills_comfyuis_worker_kills_this_one(
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


async def test_freeing_memory_empties_the_cache(sketch: Comfy) -> None:
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


async def test_a_body_over_100_mb_is_refused(sketch: Comfy) -> None:
    answer = await sketch.http.post("/prompt", content=b" " * (104857600 + 1))
    assert answer.status_code == 413
    assert answer.text == "Maximum request body size 104857600 exceeded."


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


async def test_the_server_refuses_anything_but_loopback(tmp_path: Path) -> None:
    app = create_app(tmp_path)
    with pytest.raises(ValueError, match="loopback"):
        create_server(app, "0.0.0.0")
