"""`kill -9` of either process at the worst moment: nothing is lost, nothing is drawn twice."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest

from gpu_server.schemas import State
from tests.gpu_server.engines import Comfy, EngineProcess, engine_process, supervised, until
from tests.gpu_server.servers import QUICK, SMALL, Pod, PodProcess, pod_process, serving

LEAVING_HISTORY = replace(QUICK, sweep_s=3600)


@pytest.fixture
async def killable(tmp_path: Path) -> AsyncIterator[tuple[EngineProcess, Comfy]]:
    async with engine_process(tmp_path / "comfyui") as found:
        yield found


@pytest.fixture
async def processes(comfy: Comfy, tmp_path: Path) -> AsyncIterator[tuple[PodProcess, Pod]]:
    async with pod_process(comfy.url, tmp_path / "data") as found:
        yield found


async def test_a_killed_gpu_server_finds_its_jobs_again_and_draws_none_twice(
    comfy: Comfy, processes: tuple[PodProcess, Pod]
) -> None:
    process, pod = processes
    await comfy.fault("slow", seconds=0.1)
    jobs = [await pod.put() for _ in range(4)]
    await pod.when(jobs[0].id, lambda now: now.progress > 0.2)
    watched = _executions(comfy)
    process.kill()
    seen = [await anext(watched)]
    process.start()
    await process.until_ready(pod)
    for job in jobs:
        ended = await pod.ended(job.id)
        assert ended.status is State.succeeded
        assert await pod.client.image(job.id, 0)
        seen.append(await anext(watched))
    executed = set().union(*seen)
    assert executed <= {str(job.id) for job in jobs}, "each under its own id: none was repeated"
    assert await pod.metric("easel_gpu_jobs_resubmitted_total") == 0


async def _executions(comfy: Comfy) -> AsyncIterator[set[str]]:
    """Prompt ids known to the engine, seen whenever asked for."""
    while True:
        running, pending = await comfy.queue()
        yield {*running, *pending, *await comfy.history()}


async def test_a_job_that_ended_while_the_gpu_server_was_dead_is_not_drawn_again(
    comfy: Comfy, processes: tuple[PodProcess, Pod]
) -> None:
    process, pod = processes
    await comfy.fault("slow", seconds=0.05)
    job = await pod.put()
    await pod.when(job.id, lambda now: now.status is State.running)
    process.kill()

    async def ended() -> bool:
        return str(job.id) in await comfy.drawn()

    await until(ended, "the engine ends the job alone")
    await comfy.fault("cuda_fault")  # whatever is drawn from here on fails
    process.start()
    await process.until_ready(pod)
    assert (await pod.ended(job.id)).status is State.succeeded
    assert await pod.client.image(job.id, 0)


async def test_a_running_job_whose_caller_died_with_the_gpu_server_is_stopped(
    comfy: Comfy, processes: tuple[PodProcess, Pod]
) -> None:
    process, pod = processes
    await comfy.fault("slow", seconds=0.5)
    asking = asyncio.create_task(pod.http.post("/generate", json=SMALL))

    async def runs() -> bool:
        return bool((await comfy.queue())[0])

    await until(runs, "the engine draws it")
    process.kill()
    with pytest.raises(httpx.HTTPError):
        await asking
    process.start()

    async def nothing_is_left() -> bool:
        queued = sum(map(len, await comfy.queue()))
        return not (queued or await comfy.history() or comfy.files())

    await until(nothing_is_left, "engine and disk are clean of it")


async def test_a_cancellation_right_after_a_restart_stops_what_the_engine_draws(
    comfy: Comfy, tmp_path: Path
) -> None:
    await comfy.fault("slow", seconds=0.5)
    async with serving(comfy.url, tmp_path / "data", LEAVING_HISTORY) as pod:
        job = await pod.put()
        await pod.when(job.id, lambda now: "sampling" in now.stage)
    async with serving(comfy.url, tmp_path / "data", LEAVING_HISTORY, ready=False) as pod:
        assert (await pod.client.delete(job.id)).outcome == "cancelled"
        assert await comfy.queue() == ([], [])
        assert await comfy.drawn() == []


async def test_results_survive_a_restart_of_the_gpu_server(
    processes: tuple[PodProcess, Pod],
) -> None:
    process, pod = processes
    job = await pod.put()
    await pod.ended(job.id)
    before = await pod.client.image(job.id, 0)
    await until(pod.kept_files, "its picture is kept")
    process.kill()
    process.start()
    await process.until_ready(pod)
    assert (await pod.client.job(job.id)).status is State.succeeded
    assert await pod.client.image(job.id, 0) == before
    assert (await pod.client.delete(job.id)).outcome == "deleted"
    assert pod.kept_files() == []


async def test_a_killed_engine_gets_the_job_once_more_under_another_id(
    killable: tuple[EngineProcess, Comfy], tmp_path: Path
) -> None:
    process, comfy = killable
    async with serving(comfy.url, tmp_path / "data", LEAVING_HISTORY) as pod:
        await comfy.fault("slow", seconds=0.1)
        running, waiting = await pod.put(), await pod.put()
        await pod.when(running.id, lambda now: now.progress > 0.2)
        process.kill()
        await until(pod.unready, "the GPU server is not ready")
        process.start()
        for job in (running, waiting):
            ended = await pod.ended(job.id)
            assert ended.status is State.succeeded
            assert await pod.client.image(job.id, 0)
        drawn = await comfy.drawn()
        assert len(drawn) == 2
        assert not {str(running.id), str(waiting.id)} & set(drawn)


def _started_since(process: EngineProcess, starts: int) -> bool:
    return process.starts > starts


async def test_a_job_that_kills_the_engine_every_time_ends_and_the_next_is_drawn(
    killable: tuple[EngineProcess, Comfy], tmp_path: Path
) -> None:
    process, comfy = killable
    async with supervised(process), serving(comfy.url, tmp_path / "data") as pod:
        deadly = await pod.put(width=1024, height=1024, count=8)

        async def runs() -> bool:
            return bool((await comfy.queue())[0])

        for _ in range(2):
            await until(runs, "the engine draws it")
            await pod.when(deadly.id, lambda now: "sampling" in now.stage)
            starts = process.starts
            assert process.process is not None
            process.process.kill()
            await until(partial(_started_since, process, starts), "it is started again")
            await process.up(comfy.http)
        ended = await pod.ended(deadly.id)
        assert ended.error is not None
        assert ended.error.code == "engine_lost"
        await pod.until_ready()
        assert (await pod.ended((await pod.put()).id)).status is State.succeeded


@pytest.mark.parametrize("fault", ["cuda_fault", "worker_dead", "worker_dies"])
async def test_a_supervised_engine_is_restarted_and_the_job_goes_on(
    killable: tuple[EngineProcess, Comfy], tmp_path: Path, fault: str
) -> None:
    process, comfy = killable
    pid_file = process.pid_file
    async with (
        supervised(process),
        serving(comfy.url, tmp_path / "data", gpu_comfyui_pid_file=pid_file) as pod,
    ):
        await comfy.fault(fault)
        job = await pod.put()
        assert (await pod.ended(job.id)).status is State.succeeded
        assert process.starts == 2
        assert await pod.metric("easel_gpu_comfyui_restarts_total") == 1
        await pod.until_ready()


async def test_a_supervised_engine_that_freezes_is_restarted(
    killable: tuple[EngineProcess, Comfy], tmp_path: Path
) -> None:
    process, comfy = killable
    pid_file = process.pid_file
    async with (
        supervised(process),
        serving(comfy.url, tmp_path / "data", gpu_comfyui_pid_file=pid_file) as pod,
    ):
        await comfy.fault("frozen", seconds=120)
        await until(lambda: process.starts == 2, "it is restarted")
        await pod.until_ready()
        assert (await pod.ended((await pod.put()).id)).status is State.succeeded


async def test_a_prompt_that_cannot_be_stopped_in_time_restarts_a_supervised_engine(
    killable: tuple[EngineProcess, Comfy], tmp_path: Path
) -> None:
    process, comfy = killable
    pid_file = process.pid_file
    async with (
        supervised(process),
        serving(
            comfy.url,
            tmp_path / "data",
            gpu_comfyui_pid_file=pid_file,
            gpu_job_timeout_s=1,
        ) as pod,
    ):
        await comfy.fault("interrupt_lost")
        await comfy.fault("slow", seconds=1)
        ended = await pod.ended((await pod.put()).id)
        assert ended.error is not None
        assert ended.error.code == "timeout"
        await until(lambda: process.starts == 2, "it is restarted")
        await pod.until_ready()
        assert (await pod.ended((await pod.put()).id)).status is State.succeeded


async def test_without_our_nodes_a_restart_of_the_engine_is_noticed_too(tmp_path: Path) -> None:
    async with (
        engine_process(tmp_path / "comfyui", "--plain") as (process, comfy),
        serving(comfy.url, tmp_path / "data") as pod,
    ):
        await comfy.fault("cuda_fault")
        await pod.ended((await pod.put()).id)
        await until(pod.unready, "the pod is out of service")
        process.kill()
        process.start()
        await pod.until_ready()
        assert (await pod.ended((await pod.put()).id)).status is State.succeeded


async def test_a_job_that_kills_the_worker_every_time_ends_and_the_next_is_drawn(
    killable: tuple[EngineProcess, Comfy], tmp_path: Path
) -> None:
    process, comfy = killable
    async with (
        supervised(process),
        serving(comfy.url, tmp_path / "data", gpu_comfyui_pid_file=process.pid_file) as pod,
    ):
        await comfy.fault("worker_dies")
        deadly = await pod.put()
        await until(partial(_started_since, process, 1), "it is started again")
        await process.up(comfy.http)
        await comfy.fault("worker_dies")
        ended = await pod.ended(deadly.id)
        assert ended.error is not None
        assert ended.error.code == "engine_lost"
        await until(partial(_started_since, process, 2), "it is started again")
        await pod.until_ready()
        assert (await pod.ended((await pod.put()).id)).status is State.succeeded
