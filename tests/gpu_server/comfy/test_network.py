"""What fails between the GPU server and ComfyUI."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gpu_server.schemas import State
from tests.gpu_server.comfy.fault_proxy import FaultProxy, fault_proxy
from tests.gpu_server.engines import Comfy, until
from tests.gpu_server.pictures.samples import pixels
from tests.gpu_server.servers import Pod, serving


@pytest.fixture
async def behind(comfy: Comfy, tmp_path: Path) -> AsyncIterator[tuple[FaultProxy, Pod]]:
    """Run a GPU server that reaches its engine through a proxy."""
    async with (
        fault_proxy(comfy.url) as (proxy, url),
        serving(url, tmp_path / "data") as pod,
    ):
        yield proxy, pod


async def test_every_connection_cut_in_mid_job_costs_nothing(
    comfy: Comfy, behind: tuple[FaultProxy, Pod]
) -> None:
    proxy, pod = behind
    await comfy.fault("slow", seconds=0.1)
    job = await pod.put()
    for share in (0.1, 0.3, 0.5):
        await pod.when(job.id, lambda now, share=share: now.progress > share)  # type: ignore[misc]
        proxy.drop_all()
    assert (await pod.ended(job.id)).status is State.succeeded
    assert await pod.metric("easel_gpu_jobs_resubmitted_total") == 0


async def test_a_half_open_network_is_noticed_and_the_job_goes_on(
    comfy: Comfy, behind: tuple[FaultProxy, Pod]
) -> None:
    proxy, pod = behind
    await comfy.fault("slow", seconds=0.3)
    job = await pod.put()
    await pod.when(job.id, lambda now: now.status is State.running)
    proxy.go_silent()
    await until(pod.unready, "the GPU server is not ready")
    proxy.speak_again()
    proxy.drop_all()
    assert (await pod.ended(job.id)).status is State.succeeded
    await pod.until_ready()
    assert await pod.metric("easel_gpu_jobs_resubmitted_total") == 0


async def test_a_network_that_is_away_for_a_while_loses_no_job(
    comfy: Comfy, behind: tuple[FaultProxy, Pod]
) -> None:
    proxy, pod = behind
    await comfy.fault("slow", seconds=0.1)
    jobs = [await pod.put() for _ in range(3)]
    await pod.when(jobs[0].id, lambda now: now.status is State.running)
    proxy.refuse = True
    proxy.drop_all()
    await until(pod.unready, "the GPU server is not ready")
    proxy.refuse = False
    for job in jobs:
        assert (await pod.ended(job.id)).status is State.succeeded


async def test_a_slow_network_changes_no_result(
    comfy: Comfy, behind: tuple[FaultProxy, Pod], tmp_path: Path
) -> None:
    proxy, far = behind
    proxy.delay_s = 0.1
    async with serving(comfy.url, tmp_path / "near") as near:
        found = []
        for pod in (far, near):
            job = await pod.ended((await pod.put(seed=7)).id)
            assert job.status is State.succeeded
            found.append(pixels(await pod.client.image(job.id, 0)))
    assert found[0] == found[1]


async def test_a_prompt_whose_answer_is_lost_is_posted_once(
    comfy: Comfy, behind: tuple[FaultProxy, Pod]
) -> None:
    proxy, pod = behind
    proxy.lose_posts = 1
    assert (await pod.ended((await pod.put()).id)).status is State.succeeded
    assert proxy.posts == 1


async def test_a_prompt_that_never_arrives_is_posted_again(
    comfy: Comfy, behind: tuple[FaultProxy, Pod]
) -> None:
    proxy, pod = behind
    proxy.swallow_posts = 1
    assert (await pod.ended((await pod.put()).id)).status is State.succeeded
    assert proxy.posts == 2
