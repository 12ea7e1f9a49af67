"""Cancelling, deleting and hanging up, at every stage of a job."""

from uuid import uuid4

import httpx
import pytest

from gpu_server.schemas import State
from tests.gpu_server.engines import Comfy, until
from tests.gpu_server.servers import SMALL, Pod


async def test_a_job_waiting_here_is_cancelled_and_never_drawn(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow", seconds=0.1)
    jobs = [await pod.put() for _ in range(3)]
    said = await pod.client.delete(jobs[2].id)
    assert said.outcome == "cancelled"
    assert said.status is State.cancelled
    for job in jobs[:2]:
        assert (await pod.ended(job.id)).status is State.succeeded
    ended = await pod.client.job(jobs[2].id)
    assert ended.status is State.cancelled
    assert ended.timings.gpu_ms == 0


async def test_a_job_waiting_in_the_engine_is_cancelled_and_leaves_its_queue(
    comfy: Comfy, pod: Pod
) -> None:
    await comfy.fault("slow", seconds=0.2)
    running, waiting = await pod.put(), await pod.put()

    async def is_waiting() -> bool:
        return str(waiting.id) in (await comfy.queue())[1]

    await until(is_waiting, "it waits in the engine")
    assert (await pod.client.delete(waiting.id)).outcome == "cancelled"
    assert not await is_waiting()
    assert (await pod.ended(running.id)).status is State.succeeded


async def test_a_job_being_sampled_is_stopped_and_the_next_is_drawn(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow", seconds=0.2)
    running, waiting = await pod.put(), await pod.put()
    await pod.when(running.id, lambda now: "sampling" in now.stage)
    said = await pod.client.delete(running.id)
    assert said.outcome == "cancelled"
    assert said.took_ms > 0
    assert (await comfy.queue())[0] != [str(running.id)]
    assert (await pod.ended(waiting.id)).status is State.succeeded


async def test_an_interrupt_that_gets_lost_is_sent_again(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow", seconds=0.4)
    await comfy.fault("interrupt_lost", count=2)
    job = await pod.put()
    await pod.when(job.id, lambda now: "sampling" in now.stage)
    assert (await pod.client.delete(job.id)).outcome == "cancelled"


async def test_a_job_loading_a_model_is_stopped_when_that_is_over(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow_load", seconds=1.5)
    job = await pod.put()
    await pod.when(job.id, lambda now: now.stage == "loading model")
    said = await pod.client.delete(job.id)
    assert said.outcome == "cancelled"
    assert (await comfy.queue())[0] == []


async def test_ended_jobs_are_forgotten_many_at_once_and_others_stay(
    comfy: Comfy, pod: Pod
) -> None:
    ended = [await pod.put() for _ in range(2)]
    for job in ended:
        await pod.ended(job.id)
    await comfy.fault("slow", seconds=0.2)
    running = await pod.put()
    await pod.client.forget([*(job.id for job in ended), running.id, uuid4()])
    for job in ended:
        assert (await pod.http.get(f"/jobs/{job.id}/images/0")).status_code == 404
    assert (await pod.ended(running.id)).status is State.succeeded


async def test_cancelling_what_has_ended_deletes_it(pod: Pod) -> None:
    job = await pod.put()
    await pod.ended(job.id)
    await until(pod.kept_files, "its picture is kept")
    assert (await pod.client.delete(job.id)).outcome == "deleted"
    assert pod.kept_files() == []
    assert (await pod.http.get(f"/jobs/{job.id}")).status_code == 404
    assert (await pod.http.get(f"/jobs/{job.id}/images/0")).status_code == 404


async def test_a_deleted_job_can_be_asked_for_again_at_once(comfy: Comfy, pod: Pod) -> None:
    job_id = uuid4()
    for seed in (1, 2, 3):
        await pod.put(job_id, seed=seed)
        ended = await pod.ended(job_id)
        assert ended.status is State.succeeded
        assert ended.seed == seed
        assert await pod.client.image(job_id, 0)
        await pod.client.delete(job_id)


async def test_a_client_that_hangs_up_on_generate_stops_the_gpu(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow", seconds=0.3)
    with pytest.raises(httpx.ReadTimeout):
        await pod.http.post("/generate", json=SMALL, timeout=0.5)

    async def stopped() -> bool:
        return not any(await comfy.queue())

    await until(stopped, "the engine is idle")
    await until(lambda: not pod.kept_files(), "nothing is kept")


async def test_a_client_that_leaves_the_event_stream_of_generate_stops_the_gpu(
    comfy: Comfy, pod: Pod
) -> None:
    await comfy.fault("slow", seconds=0.3)
    headers = {"Accept": "text/event-stream"}
    async with pod.http.stream("POST", "/generate", json=SMALL, headers=headers) as answer:
        await anext(answer.aiter_lines())

    async def stopped() -> bool:
        return not any(await comfy.queue())

    await until(stopped, "the engine is idle")
