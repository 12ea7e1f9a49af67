"""Every way in which a ComfyUI was seen to fail, and what callers see of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from gpu_server import sketch
from gpu_server.comfy.client import ComfyClient
from gpu_server.schemas import State
from tests import services
from tests.gpu_server.engines import Comfy, engine, until
from tests.gpu_server.servers import QUICK, Pod, serving


@pytest.mark.parametrize("fault", ["mute", "half_open", "drop_socket"])
async def test_a_job_ends_well_although_the_socket_fails_under_it(
    comfy: Comfy, pod: Pod, fault: str
) -> None:
    await comfy.fault("slow", seconds=0.1)
    job = await pod.put()
    await pod.when(job.id, lambda now: now.status is State.running)
    await comfy.fault(fault)
    assert (await pod.ended(job.id)).status is State.succeeded


@pytest.mark.parametrize("fault", ["mute", "half_open", "drop_socket"])
async def test_after_a_socket_failure_progress_is_seen_again(
    comfy: Comfy, pod: Pod, fault: str
) -> None:
    await comfy.fault("slow", seconds=0.1)  # progress is told at most every 50 ms
    await comfy.fault(fault)
    await pod.draw()

    async def seen() -> bool:
        events = await pod.draw()
        return any("sampling" in getattr(event, "stage", "") for event in events)

    await until(seen, "progress is seen again")
    assert await pod.ready()


async def test_frames_of_custom_nodes_in_any_shape_end_nothing(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow", seconds=0.1)  # progress is told at most every 50 ms
    await comfy.fault("odd_frames")
    events = await pod.draw()
    assert any("sampling" in getattr(event, "stage", "") for event in events)
    assert (await pod.http.get("/livez")).status_code == 200
    assert await pod.ready()


async def test_a_socket_held_up_by_another_client_delays_no_result(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("held_up", seconds=60)
    job = await pod.put()
    assert (await pod.ended(job.id)).status is State.succeeded
    assert await pod.ready()


async def test_a_frozen_engine_is_not_ready_and_its_job_goes_on_after_the_thaw(
    comfy: Comfy, pod: Pod
) -> None:
    await comfy.fault("slow", seconds=0.1)
    job = await pod.put()
    await pod.when(job.id, lambda now: now.status is State.running)
    await comfy.fault("frozen", seconds=4)
    await until(pod.unready, "the GPU server is not ready")
    _, checks = await pod.readiness()
    assert "no answer" in checks["comfyui"]
    ended = await pod.ended(job.id)
    assert ended.status is State.succeeded
    await pod.until_ready()
    assert await pod.metric("easel_gpu_jobs_resubmitted_total") == 0


async def test_a_job_is_not_called_cancelled_before_a_frozen_engine_has_stopped_it(
    comfy: Comfy, tmp_path: Path
) -> None:
    hasty = replace(QUICK, request_s=0.5, sweep_s=3600)
    async with serving(comfy.url, tmp_path / "data", hasty) as pod:
        await comfy.fault("slow", seconds=0.5)
        job = await pod.put()
        await pod.when(job.id, lambda now: "sampling" in now.stage)
        await comfy.fault("frozen", seconds=4)
        await until(pod.unready, "the GPU server is not ready")
        assert (await pod.client.delete(job.id)).outcome == "cancelled"
        assert await comfy.queue() == ([], [])
        assert await comfy.drawn() == []


async def test_a_prompt_given_up_while_the_engine_was_frozen_is_stopped_after_the_thaw(
    comfy: Comfy, tmp_path: Path
) -> None:
    hasty = replace(QUICK, request_s=0.5, engine_back_s=1)
    async with serving(comfy.url, tmp_path / "data", hasty) as pod:
        await comfy.fault("slow", seconds=0.5)
        job = await pod.put()
        await pod.when(job.id, lambda now: "sampling" in now.stage)
        await comfy.fault("frozen", seconds=5)
        ended = await pod.ended(job.id)
        assert ended.error is not None
        assert ended.error.code == "engine_lost"

        async def nothing_is_left() -> bool:
            try:
                queued = sum(map(len, await comfy.queue()))
                return not (queued or await comfy.history() or comfy.files())
            except httpx.HTTPError:
                return False

        await until(nothing_is_left, "engine and disk are clean of it")


async def test_a_job_lost_by_the_engine_is_drawn_under_another_id(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("lost_prompt", count=1)
    job = await pod.put()
    assert (await pod.ended(job.id)).status is State.succeeded
    assert await pod.metric("easel_gpu_jobs_resubmitted_total") == 1


async def test_a_job_that_is_lost_again_and_again_ends_and_the_next_is_drawn(
    comfy: Comfy, pod: Pod
) -> None:
    await comfy.fault("lost_prompt")
    ended = await pod.ended((await pod.put()).id)
    assert ended.error is not None
    assert ended.error.code == "engine_lost"
    await comfy.clear_faults()
    assert (await pod.ended((await pod.put()).id)).status is State.succeeded


async def test_an_engine_that_restarts_in_mid_job_draws_it_once_more(
    comfy: Comfy, pod: Pod
) -> None:
    await comfy.fault("slow", seconds=0.1)
    running, waiting = await pod.put(), await pod.put()
    await pod.when(running.id, lambda now: now.progress > 0.2)
    await comfy.fault("restart", seconds=1)
    await until(pod.unready, "the GPU server is not ready")
    for job in (running, waiting):
        assert (await pod.ended(job.id)).status is State.succeeded
    await pod.until_ready()
    assert await pod.metric("easel_gpu_jobs_resubmitted_total") == 2


async def test_a_slow_engine_is_waited_for(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow", seconds=0.5)
    job = await pod.put()
    assert (await pod.ended(job.id)).status is State.succeeded
    assert await pod.metric("easel_gpu_jobs_resubmitted_total") == 0


async def test_a_history_that_comes_late_is_waited_for(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("history_race", seconds=0.35)
    await comfy.fault("held_up", seconds=60)
    job = await pod.put()
    assert (await pod.ended(job.id)).status is State.succeeded


async def test_a_lost_answer_to_a_prompt_draws_it_once(comfy: Comfy, tmp_path: Path) -> None:
    async with serving(comfy.url, tmp_path / "data") as pod:
        await comfy.fault("slow", seconds=0.05)
        await comfy.fault("post_lost", count=1)
        job = await pod.put()
        assert (await pod.ended(job.id)).status is State.succeeded
        assert await pod.metric("easel_gpu_jobs_resubmitted_total") == 0


async def test_an_unreadable_answer_to_a_prompt_draws_it_once(tmp_path: Path) -> None:
    """As of a proxy between us and a ComfyUI that has queued it all the same."""
    app = sketch.create_app(tmp_path / "engine")

    async def garbled(scope: Scope, receive: Receive, send: Send) -> None:
        async def half(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [(b"content-type", b"application/json")]
            await send({**message, "body": b"{"} if "body" in message else message)

        await app(scope, receive, half if scope.get("path") == "/prompt" else send)

    with services.served(garbled) as url:
        async with serving(url, tmp_path / "data") as pod:
            job = await pod.put()
            assert (await pod.ended(job.id)).status is State.succeeded
            assert await pod.metric("easel_gpu_jobs_resubmitted_total") == 0


async def test_out_of_memory_is_tried_once_more(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("out_of_memory", count=1)
    job = await pod.put()
    assert (await pod.ended(job.id)).status is State.succeeded
    assert await pod.metric("easel_gpu_oom_total") == 1


@pytest.mark.parametrize("device", ["gpu", "cpu"])
async def test_out_of_memory_twice_ends_the_job_and_not_the_next(
    comfy: Comfy, pod: Pod, device: str
) -> None:
    await comfy.fault("out_of_memory", count=2, device=device)
    ended = await pod.ended((await pod.put()).id)
    assert ended.error is not None
    assert ended.error.code == "out_of_memory"
    assert (await pod.ended((await pod.put()).id)).status is State.succeeded


async def test_a_cuda_fault_latches_until_the_engine_was_restarted(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("cuda_fault")
    ended = await pod.ended((await pod.put()).id)
    assert ended.error is not None
    assert ended.error.code == "engine_error"
    status, checks = await pod.readiness()
    assert status == 503
    assert "GPU reported a fault" in checks["comfyui"]
    answer = await pod.http.put(f"/jobs/{uuid4()}", json={"prompt": "a fox"})
    assert answer.status_code == 503
    assert answer.json()["code"] == "no_gpu"
    assert int(answer.headers["retry-after"]) > 0
    await comfy.clear_faults()
    await comfy.fault("restart")
    await pod.until_ready()
    assert (await pod.ended((await pod.put()).id)).status is State.succeeded


async def test_jobs_behind_a_cuda_fault_end_with_a_reason(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow", seconds=0.1)
    first, *others = [await pod.put() for _ in range(5)]

    async def sampling() -> bool:
        return (await pod.client.job(first.id)).stage.startswith("sampling ")

    await until(sampling, "the first is being drawn")
    await comfy.fault("cuda_fault")
    assert (await pod.ended(first.id)).status is State.succeeded
    errors = [(await pod.ended(job.id)).error for job in others]
    assert {error and error.code for error in errors} == {"engine_error", "engine_lost"}


async def test_a_damaged_model_takes_its_styles_out_and_no_others(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("damaged_model", model="animagine-xl-4.0-opt.safetensors")
    ended = await pod.ended((await pod.put(style="anime")).id)
    assert ended.error is not None
    assert ended.error.code == "model_missing"
    assert "animagine-xl-4.0-opt.safetensors is damaged" in ended.error.detail

    async def out() -> bool:
        return not (await pod.client.health()).styles["free"]["anime"].available

    await until(out, "the style is out")
    assert (await pod.ended((await pod.put(style="realism")).id)).status is State.succeeded
    assert await pod.ready()


async def test_a_missing_model_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    models = {"checkpoints": ["sd15.safetensors"]}
    async with (
        engine(tmp_path / "comfyui", models=models) as comfy,
        serving(comfy.url, tmp_path / "data", ready=False) as pod,
    ):

        async def looked() -> bool:
            return "ComfyUI has no" in (await pod.readiness())[1]["styles"]

        await until(looked, "the styles were looked at")
        answer = await pod.http.put(f"/jobs/{uuid4()}", json={"prompt": "a fox", "style": "anime"})
        assert answer.status_code == 503
        assert answer.json()["code"] == "model_missing"
        assert "models pull --style anime" in answer.json()["detail"]
        health = await pod.client.health()
        assert health.styles["free"]["anime"].files == {"animagine-xl-4.0-opt.safetensors": False}


async def test_a_missing_checkpoint_of_the_owners_is_not_said_to_be_fetched(tmp_path: Path) -> None:
    async with (
        engine(tmp_path / "comfyui") as comfy,
        serving(comfy.url, tmp_path, ready=False, easel_checkpoint="mine.safetensors") as pod,
    ):

        async def reason() -> str:
            return (await pod.client.health()).styles["free"]["anime"].reason or ""

        async def looked() -> bool:
            return "ComfyUI has no mine.safetensors" in await reason()

        await until(looked, "the styles were looked at")
        assert "folder of ComfyUI's models" in await reason()
        assert "pull" not in await reason()


async def test_a_worker_that_runs_nothing_is_noticed_and_said(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("worker_dead")
    ended = await pod.ended((await pod.put()).id)
    assert ended.error is not None
    assert ended.error.code == "engine_lost"
    status, checks = await pod.readiness()
    assert status == 503
    assert "takes jobs and runs none" in checks["comfyui"]


async def test_a_graph_of_which_a_part_is_dropped_counts_as_refused(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("silent_drop_node_errors", count=1)
    ended = await pod.ended((await pod.put()).id)
    assert ended.error is not None
    assert ended.error.code == "engine_error"
    assert (await pod.ended((await pod.put()).id)).status is State.succeeded


async def test_a_worker_that_dies_under_a_job_is_noticed_although_its_node_is_repeated(
    comfy: Comfy, pod: Pod
) -> None:
    await comfy.fault("worker_dies", count=1)
    ended = await pod.ended((await pod.put()).id)
    assert ended.error is not None
    assert ended.error.code == "engine_lost"
    status, checks = await pod.readiness()
    assert status == 503
    assert "takes jobs and runs none" in checks["comfyui"]


async def test_a_cancellation_does_not_wait_for_a_dead_worker(comfy: Comfy, tmp_path: Path) -> None:
    patient = replace(QUICK, poll_s=60, mute_s=60, cancel_s=60)
    async with serving(comfy.url, tmp_path / "data", patient) as pod:
        await comfy.fault("worker_dies", count=1)
        job = await pod.put()

        async def died() -> bool:
            return (await comfy.http.get("/easel")).json()["worker_alive"] is False

        await until(died, "the worker dies")
        assert (await pod.client.delete(job.id)).outcome == "cancelled"
        assert await pod.unready()


async def test_a_worker_that_died_without_a_job_of_ours_is_noticed(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("worker_dies", count=1)
    size = {"width": 64, "height": 64, "batch_size": 1, "color": 0}
    graph: dict[str, Any] = {"1": {"class_type": "EmptyImage", "inputs": size}}
    graph["2"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    (await comfy.http.post("/prompt", json={"prompt": graph})).raise_for_status()
    await until(pod.unready, "the GPU server is not ready")


@pytest.mark.parametrize("shows_log", [True, False])
async def test_without_our_nodes_a_worker_that_died_in_a_node_is_noticed(
    tmp_path: Path, *, shows_log: bool
) -> None:
    app = sketch.create_app(tmp_path / "engine", plain=True, faults=True)

    async def without_log(scope: Scope, receive: Receive, send: Send) -> None:
        hidden = scope.get("path") == "/internal/logs/raw" and not shows_log
        await app({**scope, "path": "/none"} if hidden else scope, receive, send)

    with services.served(without_log) as url:
        limits = QUICK if not shows_log else replace(QUICK, quiet_node_s=600)
        async with (
            httpx.AsyncClient(base_url=url) as http,
            serving(url, tmp_path / "data", limits) as pod,
        ):
            await http.post("/sketch/faults", json={"fault": "worker_dies", "count": 1})
            ended = await pod.ended((await pod.put()).id)
            assert ended.error is not None
            assert ended.error.code == "engine_lost"
            assert await pod.unready()


CAUGHT = (
    "!!! Exception during processing !!! no\nTraceback (most recent call last):\n"
    '  File "/c/execution.py", line 306, in process_inputs\n    result = f()\nValueError: no\n'
)
OF_A_NODE = ('  File "/c/custom_nodes/x/execution.py", line 9, in poll\n', "    ", "^", "^", "\n")
CUT_OFF = ("^", "^", "\n", "", '  File "/c/execution.py", line 318, in execute\n', "", "^", "Boom")


@pytest.mark.parametrize(
    ("pieces", "dead"),
    [
        (("Exception in thread ", "Thread-9 (prompt_worker)", ":\n"), True),
        (CUT_OFF, True),  # as Python 3.11 leaves it in ComfyUI's log of 300 pieces
        ((CAUGHT,), False),
        (("Exception in thread ", "Thread-3 (poll)", ":\n", *OF_A_NODE), False),
        ((), False),
    ],
)
async def test_comfyuis_log_tells_of_a_dead_worker_also_when_its_start_is_lost(
    pieces: tuple[str, ...], *, dead: bool
) -> None:
    async def log(_: Request) -> JSONResponse:
        return JSONResponse({"entries": [{"t": "", "m": piece} for piece in pieces], "size": {}})

    with services.served(Starlette(routes=[Route("/internal/logs/raw", log)])) as url:
        client = ComfyClient.at(url)
        assert await client.tells_of_dead_worker() is dead
        await client.close()


async def test_without_our_nodes_a_long_load_of_a_model_is_waited_for(tmp_path: Path) -> None:
    patient = replace(QUICK, load_s_per_gb=10)
    async with (
        engine(tmp_path / "comfyui", plain=True) as comfy,
        serving(comfy.url, tmp_path / "data", patient) as pod,
    ):
        await comfy.fault("slow_load", seconds=4, count=1)
        assert (await pod.ended((await pod.put()).id)).status is State.succeeded
        assert await pod.metric("easel_gpu_jobs_resubmitted_total") == 0
