"""Jobs as a caller meets them: under an id, in a bounded queue, with images and an end."""

import io
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from PIL import Image
from pydantic import SecretStr

from gpu_server.schemas import Job, State
from gpu_server.server import create_app
from gpu_server.settings import Settings
from tests import services
from tests.gpu_server.engines import Comfy, until
from tests.gpu_server.pictures.samples import photo, pixels
from tests.gpu_server.servers import SMALL, Pod, serving, sse_events


async def test_the_same_request_under_the_same_id_is_the_same_job(comfy: Comfy, pod: Pod) -> None:
    job_id = uuid4()
    first = await pod.put(job_id)
    again = await pod.put(job_id)
    assert again.seed == first.seed
    await pod.ended(job_id)
    assert (await pod.put(job_id)).status is State.succeeded
    assert await pod.metric("easel_gpu_jobs_total") == 1


async def test_another_request_under_a_known_id_is_a_conflict(pod: Pod) -> None:
    job_id = uuid4()
    await pod.put(job_id)
    answer = await pod.http.put(f"/jobs/{job_id}", json={**SMALL, "prompt": "a cat"})
    assert answer.status_code == 409
    assert answer.json()["code"] == "conflict"


async def test_beyond_the_bound_a_job_is_refused_with_the_time_to_retry(
    comfy: Comfy, tmp_path: Path
) -> None:
    async with serving(comfy.url, tmp_path / "data", gpu_max_jobs=2) as pod:
        await comfy.fault("slow", seconds=1)
        jobs = [await pod.put(), await pod.put()]
        answer = await pod.http.put(f"/jobs/{uuid4()}", json=SMALL)
        assert answer.status_code == 429
        assert answer.json()["code"] == "queue_full"
        assert int(answer.headers["retry-after"]) > 0
        for job in jobs:
            await pod.client.delete(job.id)


async def test_at_most_one_job_waits_in_the_engine_behind_the_one_that_runs(
    comfy: Comfy, pod: Pod
) -> None:
    await comfy.fault("slow", seconds=0.3)
    jobs = [await pod.put() for _ in range(4)]
    await pod.when(jobs[0].id, lambda now: now.status is State.running)

    async def both_there() -> bool:
        return sum(map(len, await comfy.queue())) == 2

    await until(both_there, "one runs and one waits")
    assert [(await pod.client.job(job.id)).position for job in jobs] == [None, 1, 2, 3]
    for job in reversed(jobs):
        await pod.client.delete(job.id)


async def test_picture_k_of_a_count_is_the_picture_of_its_own_seed(pod: Pod) -> None:
    job = await pod.put(count=3, seed=7, format="png")
    ended = await pod.ended(job.id)
    assert [image.seed for image in ended.images] == [7, 8, 9]
    for k in range(3):
        single = await pod.put(seed=7 + k, format="png")
        await pod.ended(single.id)
        assert pixels(await pod.client.image(single.id, 0)) == pixels(
            await pod.client.image(job.id, k)
        )


async def test_a_photo_is_redrawn_at_its_own_shape(pod: Pod) -> None:
    request = {"mode": "restyle", "format": "webp", "seed": 1}
    async with pod.client.draw(uuid4(), request, {"image": photo()}) as events:
        *_, last = [event async for event in events]
    assert isinstance(last, Job)
    assert last.status is State.succeeded, last.error
    width, height = last.images[0].width, last.images[0].height
    assert width / height == pytest.approx(1.5, rel=0.02)
    with Image.open(io.BytesIO(await pod.client.image(last.id, 0))) as image:
        assert (image.format, image.size) == ("WEBP", (width, height))


async def test_nothing_of_a_job_stays_in_the_engine(comfy: Comfy, pod: Pod) -> None:
    request = {"mode": "restyle", "width": 256, "height": 256}
    async with pod.client.draw(uuid4(), request, {"image": photo()}) as events:
        *_, last = [event async for event in events]
    assert isinstance(last, Job)
    assert last.status is State.succeeded

    async def clean() -> bool:
        return not comfy.files() and not await comfy.history()

    await until(clean, "the engine is clean")
    assert await pod.client.image(last.id, 0), "the result is kept here"


async def test_results_are_deleted_when_their_time_is_over(comfy: Comfy, tmp_path: Path) -> None:
    async with serving(comfy.url, tmp_path / "data", gpu_result_ttl_s=0.5) as pod:
        job = await pod.put()
        await pod.ended(job.id)

        async def gone() -> bool:
            return (await pod.http.get(f"/jobs/{job.id}")).status_code == 404

        await until(gone, "the job is forgotten")
        await until(lambda: not pod.kept_files(), "its files are gone")


async def test_generate_answers_in_the_format_that_is_accepted(pod: Pod) -> None:
    for kind in ("png", "jpeg", "webp"):
        headers = {"Accept": f"image/{kind}"}
        answer = await pod.http.post("/generate", json=SMALL, headers=headers, timeout=30)
        assert answer.headers["content-type"] == f"image/{kind}"
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.format == kind.upper()
    answer = await pod.http.post("/generate", json={**SMALL, "seed": 5}, timeout=30)
    assert answer.json()["images"][0]["seed"] == 5
    headers = {"Accept": "text/event-stream"}
    stream = await pod.http.post("/generate", json=SMALL, headers=headers, timeout=30)
    name, data = list(sse_events(stream.text))[-1]
    assert (name, data["status"]) == ("result", "succeeded")
    assert data["images"][0]["data"]


def test_strangers_learn_what_is_out_of_order_and_no_address(tmp_path: Path) -> None:
    token = "open-sesame"
    engine = "http://operator:s3cret@127.0.0.1:9"
    settings = Settings(gpu_token=SecretStr(token), comfyui_url=engine, easel_data_dir=tmp_path)
    with services.served(create_app(settings)) as url, httpx.Client(base_url=url) as http:
        answer = http.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert answer.json()["checks"]["server"] == "ok"
        assert "with a key" in answer.json()["checks"]["comfyui"]
        assert "127.0.0.1" not in answer.text
        known = http.get("/readyz", headers={"Authorization": f"Bearer {token}"})
        assert "no answer from http://127.0.0.1:9" in known.json()["checks"]["comfyui"]
        assert "s3cret" not in known.text


async def test_without_the_token_nothing_is_done(comfy: Comfy, tmp_path: Path) -> None:
    token = SecretStr("open-sesame")
    async with serving(comfy.url, tmp_path / "data", gpu_token=token) as pod:
        async with httpx.AsyncClient(base_url=pod.url) as stranger:
            for method, path in (
                ("PUT", f"/jobs/{uuid4()}"),
                ("POST", "/generate"),
                ("POST", "/free"),
                ("GET", "/health"),
                ("GET", "/modes"),
                ("GET", "/metrics"),
            ):
                answer = await stranger.request(method, path, json=SMALL)
                assert answer.status_code == 401, path
                assert answer.json()["code"] == "unauthorized"
            assert (await stranger.get("/livez")).status_code == 200
            assert (await stranger.get("/readyz")).status_code == 200
        assert (await pod.ended((await pod.put()).id)).status is State.succeeded
