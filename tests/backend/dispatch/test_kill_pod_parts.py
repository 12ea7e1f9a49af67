"""One part of a pod is killed alone, with work on it; what was finished is drawn once."""

import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.backend.processes import (
    WORKFLOWS,
    Backend,
    Process,
    free_ports,
    noted_prompts,
    started,
    states,
    until,
)


@dataclass
class Stack:
    """Backend, GPU server and engine, each a process of its own."""

    engine: Process
    gpu: Process
    backend: Backend
    engine_url: str
    gpu_url: str
    http: httpx.AsyncClient

    async def slow_down(self, seconds: float) -> None:
        fault = {"fault": "slow", "seconds": seconds}
        answer = await self.http.post(f"{self.engine_url}/sketch/faults", json=fault)
        answer.raise_for_status()

    async def quicken(self) -> None:
        (await self.http.delete(f"{self.engine_url}/sketch/faults")).raise_for_status()

    async def put(self, **more: Any) -> str:
        one = str(uuid.uuid4())
        url = f"{self.backend.url}/generations/{one}"
        answer = await self.http.put(url, json={"mode": "tiny", "user": one, **more})
        assert answer.status_code == 202, answer.text
        return one

    async def progress(self, one: str) -> float:
        answer = await self.http.get(f"{self.backend.url}/generations/{one}")
        return float(answer.json()["progress"])

    async def succeeded(self, ids: list[str]) -> None:
        async def all_did() -> bool:
            known = await states(self.http, self.backend.url)
            return all(known[one]["status"] == "succeeded" for one in ids)

        await until(all_did, "all to end well")
        for one in ids:
            picture = await self.http.get(f"{self.backend.url}/generations/{one}/images/0")
            assert picture.content.startswith(b"\x89PNG")

    def drawn(self) -> Counter[str]:
        """Count the times each was given to the engine, under its own id or as another attempt."""
        return Counter(noted_prompts(self.engine.log.parent))


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    gpu_port, engine_port = free_ports(2)
    engine_url, gpu_url = (f"http://127.0.0.1:{port}" for port in (engine_port, gpu_port))
    folder = tmp_path / "engine"
    engine = Process("tests.backend.farm", [str(folder), f":{engine_port}"], folder / "engine.log")
    settings = {
        "GPU_PORT": str(gpu_port),
        "COMFYUI_URL": engine_url,
        "EASEL_DATA_DIR": str(tmp_path / "gpu"),
        "EASEL_WORKFLOWS_DIR": str(WORKFLOWS),
    }
    gpu = Process("gpu_server", [], tmp_path / "gpu.log", settings)
    backend = Backend(tmp_path, [gpu_url])
    async with started(engine, gpu, backend), httpx.AsyncClient(timeout=30) as http:
        await backend.up(http)
        yield Stack(engine, gpu, backend, engine_url, gpu_url, http)
        for process in (engine, gpu, backend):
            assert "Traceback" not in process.output()


async def _at_work(stack: Stack) -> tuple[list[str], str, list[str]]:
    """Return what has ended, what is being sampled, and what waits in and before the engine."""
    finished = [await stack.put() for _ in range(2)]
    await stack.succeeded(finished)
    await stack.slow_down(0.1)
    sampled, *waiting = [await stack.put(steps=100 if not n else 1) for n in range(5)]

    async def under_way() -> bool:
        return await stack.progress(sampled) > 0.1

    await until(under_way, "the first to be drawn", pause=0.05)
    return finished, sampled, waiting


async def test_a_killed_engine_loses_no_generation_and_repeats_none_that_was_finished(
    stack: Stack,
) -> None:
    finished, sampled, waiting = await _at_work(stack)
    stack.engine.kill()
    before = set(stack.drawn())
    stack.engine.start()  # without the fault: quick again
    await stack.succeeded([*finished, sampled, *waiting])
    drawn = stack.drawn()
    assert set(drawn.values()) == {1}, "nothing was given twice under one id"
    assert {*finished, sampled} <= before
    lost = {one for one in waiting if one in before} | {sampled}
    again = [str(uuid.uuid5(uuid.UUID(one), "attempt 1")) for one in lost]
    assert set(drawn) == {*finished, sampled, *waiting, *again}, "only what was lost came again"


async def test_a_killed_gpu_server_picks_up_what_is_sampled_and_has_what_was_not_fetched(
    stack: Stack,
) -> None:
    finished, sampled, waiting = await _at_work(stack)
    unfetched = uuid.uuid4()
    order = {"mode": "tiny", "seed": 1}
    answer = await stack.http.put(f"{stack.gpu_url}/jobs/{unfetched}", json=order)
    assert answer.status_code == 202
    stack.backend.kill()  # so that nobody fetches the images that are finished meanwhile
    await stack.quicken()

    async def ended() -> bool:
        job = (await stack.http.get(f"{stack.gpu_url}/jobs/{unfetched}")).json()
        return bool(job["status"] == "succeeded")

    await until(ended, "the last on the pod to end")
    stack.gpu.kill()
    stack.gpu.start()
    stack.backend.start()
    await stack.backend.up(stack.http)
    picture = await stack.http.get(f"{stack.gpu_url}/jobs/{unfetched}/images/0")
    assert picture.content.startswith(b"\x89PNG")
    await stack.succeeded([*finished, sampled, *waiting])
    assert stack.drawn() == Counter([*finished, sampled, *waiting, str(unfetched)])


async def test_a_gpu_server_killed_while_its_job_is_sampled_repeats_nothing(stack: Stack) -> None:
    finished, sampled, waiting = await _at_work(stack)
    stack.gpu.kill()
    stack.gpu.start()

    async def sampled_on() -> bool:
        with suppress(httpx.TransportError):
            job = (await stack.http.get(f"{stack.gpu_url}/jobs/{sampled}")).json()
            return bool(job["status"] == "running" and "sampling" in job["stage"])
        return False

    await until(sampled_on, "the new GPU server to follow what is sampled")
    await stack.quicken()
    await stack.succeeded([*finished, sampled, *waiting])
    assert stack.drawn() == Counter([*finished, sampled, *waiting])


async def test_a_pod_that_was_away_for_long_is_asked_for_what_it_finished(stack: Stack) -> None:
    finished, sampled, waiting = await _at_work(stack)
    stack.gpu.kill()
    await stack.quicken()  # the engine goes on alone

    async def given_up() -> bool:
        moved = [line for line in stack.backend.output().splitlines() if "generation_moved" in line]
        return any(sampled in line for line in moved)

    await until(given_up, "the pod to be lost", pause=0.3)
    stack.gpu.start()
    await stack.succeeded([*finished, sampled, *waiting])
    assert stack.drawn() == Counter([*finished, sampled, *waiting])
