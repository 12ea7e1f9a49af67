"""Admitting a job while the disk is slow or fails."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from gpu_server.jobs.job import Job
from gpu_server.schemas import JobRequest, State
from gpu_server.server import Pod, open_pod
from gpu_server.settings import Settings
from tests.gpu_server.engines import Comfy, until
from tests.gpu_server.pictures.samples import photo
from tests.gpu_server.servers import QUICK, SMALL
from web import errors

DRAW = JobRequest.model_validate(SMALL)
RESTYLE = JobRequest.model_validate({"mode": "restyle", "format": "jpeg"})


@pytest.fixture
async def pod(comfy: Comfy, tmp_path: Path) -> AsyncIterator[Pod]:
    settings = Settings(comfyui_url=comfy.url, easel_data_dir=tmp_path)
    async with open_pod(settings, settings.load_catalog(), QUICK) as opened:
        await until(opened.health.ready, "the pod is ready")
        yield opened


@contextmanager
def held_up(folder: Path) -> Iterator[None]:
    """Lock the jobs' database against other writers."""
    with closing(sqlite3.connect(folder / "gpu_server" / "jobs.sqlite3")) as database:
        database.execute("BEGIN IMMEDIATE")
        yield


async def admitted(pod: Pod, job_id: UUID) -> Job:
    def known() -> list[Job]:
        return [job for job in pod.service.runner.unfinished() if job.id == job_id]

    await until(known, "the job is being taken on")
    return known()[0]


async def test_a_photo_whose_sender_leaves_while_it_is_written_is_still_used(
    pod: Pod, tmp_path: Path
) -> None:
    first, second = uuid4(), uuid4()
    with held_up(tmp_path):
        writing = asyncio.create_task(pod.service.submit(first, DRAW, {}))
        await admitted(pod, first)
        sending = asyncio.create_task(pod.service.submit(second, RESTYLE, {"image": photo()}))
        job = await admitted(pod, second)
        sending.cancel()
        await asyncio.wait({sending})
    await writing
    async with asyncio.timeout(30):
        await job.done.wait()
    assert job.status is State.succeeded


async def test_a_follower_of_a_job_that_could_not_be_kept_learns_of_its_end(
    pod: Pod, tmp_path: Path
) -> None:
    first, second = uuid4(), uuid4()
    with held_up(tmp_path):
        writing = asyncio.create_task(pod.service.submit(first, DRAW, {}))
        await admitted(pod, first)
        sending = asyncio.create_task(pod.service.submit(second, RESTYLE, {"image": photo()}))
        await admitted(pod, second)
        followed = await pod.service.submit(second, RESTYLE, {"image": photo()})
        shutil.rmtree(tmp_path / "gpu_server" / "jobs")
        (tmp_path / "gpu_server" / "jobs").touch()
    await writing
    with pytest.raises(OSError, match="jobs"):
        await sending
    async with asyncio.timeout(30):
        await followed.done.wait()
    assert followed.status is State.failed
    with pytest.raises(errors.NotFound):
        pod.service.runner.get(second)
