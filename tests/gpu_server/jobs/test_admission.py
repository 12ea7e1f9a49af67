"""Taking a job on while the disk is slow or fails."""

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
from gpu_server.server import open_service
from gpu_server.service import Service
from gpu_server.settings import Settings
from tests.gpu_server.jobs.test_jobs import photo
from tests.gpu_server.servers import QUICK, SMALL, Comfy, until
from web import errors

DRAW = JobRequest.model_validate(SMALL)
RESTYLE = JobRequest.model_validate({"mode": "restyle", "format": "jpeg"})


@pytest.fixture
async def service(comfy: Comfy, tmp_path: Path) -> AsyncIterator[Service]:
    settings = Settings(comfyui_url=comfy.url, easel_data_dir=tmp_path)
    async with open_service(settings, settings.load_catalog(), QUICK) as opened:
        await until(opened.ready, "the service is ready")
        yield opened


@contextmanager
def held_up(folder: Path) -> Iterator[None]:
    """Nobody else writes to the jobs' database meanwhile."""
    with closing(sqlite3.connect(folder / "gpu_server" / "jobs.sqlite3")) as database:
        database.execute("BEGIN IMMEDIATE")
        yield


async def admitted(service: Service, job_id: UUID) -> Job:
    def known() -> list[Job]:
        return [job for job in service.runner.unfinished() if job.id == job_id]

    await until(known, "the job is being taken on")
    return known()[0]


async def test_a_photo_whose_sender_leaves_while_it_is_kept_is_drawn_from(
    service: Service, tmp_path: Path
) -> None:
    first, second = uuid4(), uuid4()
    with held_up(tmp_path):
        writing = asyncio.create_task(service.submit(first, DRAW, None))
        await admitted(service, first)
        sending = asyncio.create_task(service.submit(second, RESTYLE, photo()))
        job = await admitted(service, second)
        sending.cancel()
        await asyncio.wait({sending})
    await writing
    async with asyncio.timeout(30):
        await job.done.wait()
    assert job.state is State.succeeded


async def test_whoever_follows_a_job_that_could_not_be_kept_is_told_of_its_end(
    service: Service, tmp_path: Path
) -> None:
    first, second = uuid4(), uuid4()
    with held_up(tmp_path):
        writing = asyncio.create_task(service.submit(first, DRAW, None))
        await admitted(service, first)
        sending = asyncio.create_task(service.submit(second, RESTYLE, photo()))
        await admitted(service, second)
        followed = await service.submit(second, RESTYLE, photo())
        shutil.rmtree(tmp_path / "gpu_server" / "jobs")
        (tmp_path / "gpu_server" / "jobs").touch()
    await writing
    with pytest.raises(OSError, match="jobs"):
        await sending
    async with asyncio.timeout(30):
        await followed.done.wait()
    assert followed.state is State.failed
    with pytest.raises(errors.NotFound):
        service.runner.get(second)
