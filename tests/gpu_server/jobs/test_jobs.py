"""Jobs as a caller meets them: under an id, in a bounded line, with events, pictures and an end."""

import asyncio
import io
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from PIL import Image
from pydantic import SecretStr

from gpu_server.schemas import Job, Preview, ProgressEvent, State
from tests.gpu_server.servers import SMALL, Comfy, Pod, serving, sse_events, until


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((300, 200)).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.tobytes()


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


async def test_progress_grows_from_nothing_to_the_end_and_its_stages_are_words(
    comfy: Comfy, pod: Pod
) -> None:
    await comfy.fault("slow", seconds=0.2)
    events = await pod.draw()
    progress = [event for event in events if isinstance(event, ProgressEvent)]
    shares = [event.progress for event in progress]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < 0.3
    assert 0.6 < shares[-1] <= 1
    stages = {event.stage for event in progress}
    assert {"sampling 2/8", "sampling 4/8", "sampling 6/8"} <= stages
    assert isinstance(events[-1], Job)
    assert events[-1].status is State.succeeded


async def test_previews_are_pictures(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow", seconds=0.2)
    previews = [event for event in await pod.draw() if isinstance(event, Preview)]
    assert len(previews) >= 3
    for preview in previews:
        assert preview.media_type == "image/jpeg"


async def test_events_go_on_after_the_last_that_was_seen(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow", seconds=0.1)
    job = await pod.put()
    last = ""
    async with pod.http.stream("GET", f"/jobs/{job.id}/events") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                last = line.removeprefix("id: ")
            if "sampling 3/8" in line:
                break
    headers = {"Last-Event-ID": last}
    again = await pod.http.get(f"/jobs/{job.id}/events", headers=headers, timeout=30)
    events = list(sse_events(again.text))
    stages = [data["stage"] for name, data in events if name == "progress"]
    assert "sampling 6/8" in stages
    assert "sampling 1/8" not in stages
    assert events[-1][0] == "result"


async def test_a_reader_that_takes_no_events_holds_up_nobody(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow", seconds=0.05)
    url = httpx.URL(pod.url)
    assert url.host
    assert url.port
    slow = await pod.put(width=512, height=512)
    _, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
    writer.write(f"GET /jobs/{slow.id}/events?previews=true HTTP/1.1\r\nHost: pod\r\n\r\n".encode())
    await writer.drain()
    for job in (slow, await pod.put(), await pod.put()):
        assert (await pod.ended(job.id)).status is State.succeeded
    writer.close()


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
    async with pod.client.draw(uuid4(), request, photo()) as events:
        *_, last = [event async for event in events]
    assert isinstance(last, Job)
    assert last.status is State.succeeded, last.error
    width, height = last.images[0].width, last.images[0].height
    assert width / height == pytest.approx(1.5, rel=0.02)
    with Image.open(io.BytesIO(await pod.client.image(last.id, 0))) as image:
        assert (image.format, image.size) == ("WEBP", (width, height))


async def test_nothing_of_a_job_stays_in_the_engine(comfy: Comfy, pod: Pod) -> None:
    request = {"mode": "restyle", "width": 256, "height": 256}
    async with pod.client.draw(uuid4(), request, photo()) as events:
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


async def test_without_the_token_nothing_is_done(comfy: Comfy, tmp_path: Path) -> None:
    token = SecretStr("open sesame")
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
