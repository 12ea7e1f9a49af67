"""Each fault shows the symptom that a failing ComfyUI was seen to show."""

import asyncio
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from gpu_server.sketch import create_app, running
from tests.gpu_server.sketch.comfy import MODELS, Comfy, flat, picture

_SILENCE_S = 0.3  # long enough for any frame to arrive


async def test_fault_switches_exist_only_on_request(tmp_path: Path) -> None:
    async with running(create_app(tmp_path, MODELS)) as url, httpx.AsyncClient() as http:
        assert (await http.post(f"{url}/sketch/faults", json={"fault": "mute"})).status_code == 404


async def test_an_unknown_fault_is_refused_with_the_known_ones(sketch: Comfy) -> None:
    answer = await sketch.http.post("/sketch/faults", json={"fault": "nope"})
    assert answer.status_code == 422
    assert "mute" in answer.json()["known"]


async def test_a_mute_socket_answers_pings_and_gets_no_frame(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket, sketch.socket("watch") as watcher:
        await sketch.fault("mute")
        async with sketch.socket("fresh") as fresh:
            await sketch.run(flat(), fresh, "fresh")
        await (await socket.connection.ping())
        assert socket.frames == watcher.frames == ["status(0 sid)"]


async def test_a_half_open_socket_answers_nothing(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        await sketch.fault("half_open")
        pong = await socket.connection.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pong), _SILENCE_S)
        assert (await sketch.http.get("/queue")).status_code == 200
        socket.connection.transport.abort()


async def test_a_dropped_socket_closes_without_a_close_frame(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        await sketch.fault("drop_socket")
        with pytest.raises(ConnectionClosed):
            await socket.read()
        assert socket.connection.close_code == 1006


async def test_held_up_frames_come_later(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        await sketch.fault("held_up", seconds=60)
        prompt_id = await sketch.post(flat(), "me")
        await sketch.wait_for_queue(running=0, pending=0)
        assert await sketch.history(prompt_id)
        assert socket.frames == ["status(0 sid)"]
        await sketch.http.delete("/sketch/faults")
        await socket.read_until("executing(None)")


async def test_a_restart_loses_everything_but_the_output(sketch: Comfy) -> None:
    before = (await sketch.http.get("/easel")).json()["boot_id"]
    await sketch.fault("slow", seconds=0.2)
    async with sketch.socket("me") as socket:
        done = await sketch.run(flat(), socket, "me", prompt_id="done")
        temp = await sketch.run(flat(2, output="PreviewImage"), socket, "me")
        await sketch.post(picture(steps=1000), "me", prompt_id="running")
        await socket.read_until("progress(")
        await sketch.post(flat(3), "me", prompt_id="pending")
        await sketch.fault("restart")
        with pytest.raises(ConnectionClosed):
            await socket.read_until("executing(None)")
        assert socket.connection.close_code == 1006
    queue = (await sketch.http.get("/queue")).json()
    assert queue == {"queue_running": [], "queue_pending": []}
    assert (await sketch.http.get("/history")).json() == {}
    assert (await sketch.http.get("/easel")).json()["boot_id"] != before
    await sketch.view(done["outputs"]["2"]["images"][0])
    gone = await sketch.http.get("/view", params=temp["outputs"]["2"]["images"][0])
    assert gone.status_code == 404
    answer = await sketch.http.post("/prompt", json={"prompt": flat(4)})
    assert answer.json()["number"] == 0
    async with sketch.socket("me") as again:
        assert (await sketch.run(flat(5), again, "me"))["status"]["completed"]


async def test_connections_are_cut_until_a_slow_restart_ends(sketch: Comfy) -> None:
    await sketch.fault("restart", seconds=0.5)
    with pytest.raises(httpx.TransportError):
        await sketch.http.get("/queue")
    async with asyncio.timeout(10):
        while not await _answers(sketch):
            await asyncio.sleep(0.05)


async def _answers(sketch: Comfy) -> bool:
    try:
        return (await sketch.http.get("/queue")).status_code == 200
    except httpx.TransportError:
        return False


async def test_a_dead_worker_accepts_jobs_and_never_runs_them(sketch: Comfy) -> None:
    await sketch.fault("worker_dead")
    async with sketch.socket("me") as socket:
        await sketch.post(flat(), "me")
        await sketch.wait_for_queue(running=1, pending=0)
        await sketch.post(flat(2), "me")
        await sketch.wait_for_queue(running=1, pending=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.read_until("execution_start"), _SILENCE_S)


async def test_a_lost_prompt_is_accepted_and_then_nowhere_to_be_found(sketch: Comfy) -> None:
    await sketch.fault("lost_prompt", count=1)
    lost = await sketch.post(flat())
    queue = (await sketch.http.get("/queue")).json()
    assert queue == {"queue_running": [], "queue_pending": []}
    assert await sketch.history(lost) == {}
    async with sketch.socket("me") as socket:
        assert (await sketch.run(flat(), socket, "me"))["status"]["completed"]


async def test_a_prompt_runs_although_its_answer_was_lost(sketch: Comfy) -> None:
    await sketch.fault("post_lost", count=1)
    async with sketch.socket("me") as socket:
        with pytest.raises(httpx.TransportError):
            await sketch.post(flat(), "me", prompt_id="mine")
        await socket.read_until("executing(None)")
    assert (await sketch.history("mine"))["status"]["completed"]


async def test_an_output_may_be_dropped_silently(sketch: Comfy) -> None:
    await sketch.fault("silent_drop_node_errors", count=1)
    answer = await sketch.http.post("/prompt", json={"prompt": flat()})
    assert answer.status_code == 200
    assert list(answer.json()["node_errors"]) == ["2"]


async def test_an_interrupt_may_be_lost(sketch: Comfy) -> None:
    await sketch.fault("slow", seconds=0.05)
    await sketch.fault("interrupt_lost", count=1)
    async with sketch.socket("me") as socket:
        await sketch.post(picture(steps=3), "me")
        await socket.read_until("progress(")
        await sketch.http.post("/interrupt")
        assert "execution_success" in await socket.read_until("executing(None)")


async def test_a_slow_load_ignores_an_interrupt(sketch: Comfy) -> None:
    await sketch.fault("slow_load", seconds=60, count=1)
    async with sketch.socket("me") as socket:
        await sketch.post(picture(), "me")
        while (await sketch.http.get("/sketch/faults")).json()["armed"]:
            await asyncio.sleep(0.01)  # it is used up as soon as the load begins
        await sketch.http.post("/interrupt")
        await sketch.http.delete("/sketch/faults")  # and the load ends
        seen = await socket.read_until("executing(None)")
    # As recorded, history names the node after the loader.
    assert "execution_interrupted(5 EmptyLatentImage)" in seen


async def test_the_history_may_lag_behind_success(sketch: Comfy) -> None:
    await sketch.fault("history_race", seconds=60)
    async with sketch.socket("me") as socket:
        prompt_id = await sketch.post(flat(), "me")
        await socket.read_until("execution_success")
        assert await sketch.history(prompt_id) == {}
        await sketch.http.delete("/sketch/faults")
        await socket.read_until("executing(None)")
    assert (await sketch.history(prompt_id))["status"]["completed"]


async def test_a_cached_output_may_name_a_deleted_file(sketch: Comfy) -> None:
    async with sketch.socket("me") as socket:
        await sketch.run(flat(), socket, "me")
        await sketch.fault("cached_file_gone")
        entry = await sketch.run(flat(), socket, "me")
    assert entry["status"]["completed"]
    image = entry["outputs"]["2"]["images"][0]
    assert (await sketch.http.get("/view", params=image)).status_code == 404


@pytest.mark.parametrize(
    ("device", "kind"), [("gpu", "torch.OutOfMemoryError"), ("cpu", "RuntimeError")]
)
async def test_memory_runs_out_count_times(sketch: Comfy, device: str, kind: str) -> None:
    await sketch.fault("out_of_memory", count=1, device=device)
    async with sketch.socket("me") as socket:
        entry = await sketch.run(picture(), socket, "me")
        name, error = entry["status"]["messages"][-1]
        assert (name, error["exception_type"]) == ("execution_error", kind)
        assert error["node_type"] == "KSampler"
        assert (await sketch.run(picture(), socket, "me"))["status"]["completed"]


async def test_a_cuda_fault_lasts_until_a_restart(sketch: Comfy) -> None:
    await sketch.fault("cuda_fault")
    async with sketch.socket("me") as socket:
        for color in range(2):
            entry = await sketch.run(flat(color), socket, "me")
            error = entry["status"]["messages"][-1][1]
            assert "illegal memory access" in error["exception_message"]
    await sketch.fault("restart")
    async with sketch.socket("me") as socket:
        assert (await sketch.run(flat(), socket, "me"))["status"]["completed"]


async def test_a_damaged_model_fails_at_its_loader(sketch: Comfy) -> None:
    await sketch.fault("damaged_model", model="sd15_tiny_random.safetensors")
    async with sketch.socket("me") as socket:
        entry = await sketch.run(picture(), socket, "me")
        error = entry["status"]["messages"][-1][1]
        assert error["exception_type"] == "safetensors._safetensors_rust.SafetensorError"
        assert error["node_type"] == "CheckpointLoaderSimple"
