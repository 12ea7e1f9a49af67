"""Following a job: its progress, previews, and events after a reconnect."""

import asyncio

import httpx

from gpu_server.schemas import Job, Preview, ProgressEvent, State
from tests.gpu_server.engines import Comfy
from tests.gpu_server.servers import Pod, sse_events


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


async def test_events_continue_after_the_last_one_seen(comfy: Comfy, pod: Pod) -> None:
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


async def test_who_has_the_last_event_is_told_that_nothing_follows(pod: Pod) -> None:
    job = await pod.put()
    path = f"/jobs/{job.id}/events"
    assert "\nid: end\n" in (await pod.http.get(path, timeout=30)).text
    headers = {"Last-Event-ID": "end"}
    assert (await pod.http.get(path, headers=headers)).status_code == 204
    await pod.http.delete(f"/jobs/{job.id}")
    assert (await pod.http.get(path, headers=headers)).status_code == 204
    assert (await pod.http.get(path)).status_code == 404


async def test_a_reader_that_takes_no_events_holds_up_nobody(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow", seconds=0.05)
    url = httpx.URL(pod.url)
    assert url.host
    assert url.port
    slow = await pod.put(width=512, height=512)
    _, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
    writer.write(
        f"GET /jobs/{slow.id}/events?previews=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    )
    await writer.drain()
    for job in (slow, await pod.put(), await pod.put()):
        assert (await pod.ended(job.id)).status is State.succeeded
    writer.close()
