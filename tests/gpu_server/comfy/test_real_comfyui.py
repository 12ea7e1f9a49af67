"""The GPU server on a real ComfyUI, at `COMFYUI_URL`, with one checkpoint, `EASEL_CHECKPOINT`.

With `EASEL_CONTROLNET` restyling is tried too, and `EASEL_CHECKPOINT_SIZE` is the checkpoint's own
side in pixels. Slow without a GPU: pictures are small, some ten are drawn.
"""

import io
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from gpu_server.schemas import Job, ProgressEvent, State
from gpu_server.timeouts import Timeouts
from tests.gpu_server.engines import until
from tests.gpu_server.pictures.samples import photo, pixels
from tests.gpu_server.servers import Pod, serving

pytestmark = pytest.mark.timeout(600)

SLOW = 400.0
SMALL: dict[str, Any] = {
    "mode": "free",
    "prompt": "a fox",
    "width": 256,
    "height": 256,
    "seed": 11,
}


@pytest.fixture
async def pod(tmp_path: Path) -> AsyncIterator[Pod]:
    url, checkpoint = os.environ.get("COMFYUI_URL"), os.environ.get("EASEL_CHECKPOINT")
    if not url or not checkpoint:
        pytest.skip("COMFYUI_URL and EASEL_CHECKPOINT name no ComfyUI to draw with")
    settings: dict[str, Any] = {
        "easel_checkpoint": checkpoint,
        "easel_controlnet": os.environ.get("EASEL_CONTROLNET", ""),
        "easel_checkpoint_size": int(os.environ.get("EASEL_CHECKPOINT_SIZE", "1024")),
        "gpu_job_timeout_s": SLOW,
    }
    timeouts = replace(Timeouts(), sweep_s=0.2)
    async with serving(url, tmp_path / "data", timeouts, **settings) as found:
        yield found


async def left_in_comfyui(job: Job) -> list[str]:
    async with httpx.AsyncClient(base_url=os.environ["COMFYUI_URL"]) as http:
        history = (await http.get(f"/history/{job.id}")).json()
        queue = (await http.get("/queue")).json()
    listed = [entry[1] for part in queue.values() for entry in part]
    return [*history, *(prompt for prompt in listed if prompt == str(job.id))]


async def test_a_picture_from_words_with_progress_and_the_same_seed_twice(pod: Pod) -> None:
    jobs: list[Job] = []
    pictures: list[bytes] = []
    for _ in range(2):
        async with pod.client.draw(uuid4(), {**SMALL, "format": "png"}) as events:
            *before, job = [event async for event in events]
        shares = [event.progress for event in before if isinstance(event, ProgressEvent)]
        assert shares == sorted(shares)
        assert isinstance(job, Job)
        assert job.status is State.succeeded, job.error
        jobs.append(job)
        pictures.append(pixels(await pod.client.image(job.id, 0)))
    assert pictures[0] == pictures[1]

    async def clean() -> bool:
        return not any([await left_in_comfyui(job) for job in jobs])

    await until(clean, "nothing is left in ComfyUI")


async def test_a_photo_restyled(pod: Pod) -> None:
    if not os.environ.get("EASEL_CONTROLNET"):
        pytest.skip("EASEL_CONTROLNET names no ControlNet for the checkpoint")
    request = {"mode": "restyle", "seed": 3, "width": 256, "height": 256, "format": "jpeg"}
    async with pod.client.draw(uuid4(), request, {"image": photo()}) as events:
        *_, job = [event async for event in events]
    assert isinstance(job, Job)
    assert job.status is State.succeeded, job.error
    with Image.open(io.BytesIO(await pod.client.image(job.id, 0))) as image:
        assert image.size == (256, 256)


async def test_cancelling_stops_what_is_sampled_and_what_waits(pod: Pod) -> None:
    running = await pod.put(**{**SMALL, "seed": 13})  # not among what ComfyUI still has cached
    waiting = await pod.put(**{**SMALL, "seed": 12})
    await pod.when(running.id, lambda now: "sampling" in now.stage, SLOW)
    for job in (waiting, running):
        said = await pod.client.delete(job.id)
        assert said.outcome == "cancelled"
        assert not [entry for entry in await left_in_comfyui(job) if entry != str(job.id)]
    assert (await pod.ended((await pod.put(**SMALL)).id, SLOW)).status is State.succeeded
