"""Pods that die, freeze, come back, or are not there at all."""

import asyncio
import signal
import sqlite3
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.storage.database import Database
from tests.backend.processes import Backend, Farm, Process, free_ports, started, states, until

WORKFLOWS = Path(__file__).parents[1] / "workflows"


async def put(http: httpx.AsyncClient, url: str, **more: Any) -> str:
    one = str(uuid.uuid4())
    answer = await http.put(f"{url}/generations/{one}", json={"mode": "tiny", **more})
    assert answer.status_code == 202, answer.text
    return one


async def until_all(http: httpx.AsyncClient, url: str, ids: list[str], wanted: str) -> None:
    async def reached() -> bool:
        known = await states(http, url)
        return all(known[one]["status"] == wanted for one in ids)

    await until(reached, f"all to be {wanted}", pause=0.3)


async def test_what_dead_and_frozen_pods_had_is_drawn_by_another(tmp_path: Path) -> None:
    well, dying, freezing = (Farm(tmp_path / name, 1) for name in ("well", "dying", "freezing"))
    backend = Backend(tmp_path, well.urls + dying.urls + freezing.urls)
    async with started(well, dying, freezing, backend), httpx.AsyncClient(timeout=30) as http:
        for farm in (well, dying, freezing):
            await farm.up()
            await farm.fault("slow", seconds=0.3)
        await backend.up(http)

        async def all_in_service() -> bool:
            pods = (await http.get(f"{backend.url}/health")).json()["pods"]
            return all(pod["in_service"] for pod in pods)

        await until(all_in_service, "three pods in service")
        ids = [await put(http, backend.url, steps=100, user=str(n)) for n in range(3)]
        await until_all(http, backend.url, ids, "running")
        was_frozen = next(one for one in freezing.prompts() if one in ids)
        dying.kill()
        freezing.send(signal.SIGSTOP)
        await well.fault("slow", seconds=0)
        await until_all(http, backend.url, ids, "succeeded")
        assert set(well.prompts()) == set(ids)
        freezing.send(signal.SIGCONT)

        async def stopped() -> bool:
            answer = await http.get(f"{freezing.urls[0]}/jobs/{was_frozen}")
            return answer.status_code == 404

        await until(stopped, "the thawed pod to give up what was drawn elsewhere")
        assert "Traceback" not in backend.output()


async def test_everything_killed_at_once_goes_on_where_it_was(tmp_path: Path) -> None:
    gpu_port, engine_port = free_ports(2)
    engine = Process(
        "gpu_server.sketch",
        [
            *("--port", str(engine_port), "--base-dir", str(tmp_path / "engine")),
            *("--checkpoint", "tiny.safetensors", "--faults"),
        ],
        tmp_path / "engine.log",
    )
    gpu = Process(
        "gpu_server",
        [],
        tmp_path / "gpu.log",
        {
            "GPU_PORT": str(gpu_port),
            "COMFYUI_URL": f"http://127.0.0.1:{engine_port}",
            "EASEL_DATA_DIR": str(tmp_path / "gpu"),
            "EASEL_WORKFLOWS_DIR": str(WORKFLOWS),
        },
    )
    backend = Backend(tmp_path, [f"http://127.0.0.1:{gpu_port}"])
    async with started(engine, gpu, backend), httpx.AsyncClient(timeout=30) as http:
        await backend.up(http)
        fault = {"fault": "slow", "seconds": 0.1}
        ended = await put(http, backend.url)
        await until_all(http, backend.url, [ended], "succeeded")
        await http.post(f"http://127.0.0.1:{engine_port}/sketch/faults", json=fault)
        ids = [await put(http, backend.url, steps=50, user=str(n)) for n in range(4)]
        await until_all(http, backend.url, ids[:1], "running")
        gpu.kill()
        gpu.start()
        await until_all(http, backend.url, ids[:1], "succeeded")
        for process in (backend, gpu, engine):
            process.kill()
        for process in (backend, gpu, engine):
            process.start()
        await backend.up(http)
        await until_all(http, backend.url, [*ids, ended], "succeeded")
        drawn = Counter(
            line.split('"generation_id": "')[1][:36]
            for line in gpu.output().splitlines()
            if '"event": "job_ended"' in line and '"outcome": "succeeded"' in line
        )
        assert drawn == Counter([*ids, ended])
        assert "Traceback" not in backend.output()


async def test_strangers_learn_that_no_pod_answers_but_not_where_it_is(tmp_path: Path) -> None:
    (nowhere,) = free_ports(1)
    pod, key = f"http://operator:s3cret@127.0.0.1:{nowhere}", "a-key-of-the-operators"
    backend = Backend(tmp_path, [pod], backend_api_keys=f"ops:{key}")
    async with started(backend), httpx.AsyncClient(base_url=backend.url, timeout=30) as http:
        await backend.up(http, "/livez")
        told = await http.get("/readyz")
        assert (told.status_code, told.json()["ready"]) == (503, False)
        assert "with a key" in told.json()["checks"]["pods"]
        assert str(nowhere) not in told.text
        headers = {"Authorization": f"Bearer {key}"}
        for path in ("/readyz", "/health"):
            answer = await http.get(path, headers=headers)
            assert f"http://127.0.0.1:{nowhere}" in answer.text
            assert "s3cret" not in answer.text
        assert "s3cret" not in backend.output()


async def test_without_a_pod_callers_are_told_and_accepted_ones_wait(tmp_path: Path) -> None:
    (nowhere,) = free_ports(1)
    backend = Backend(tmp_path, [f"http://127.0.0.1:{nowhere}"], backend_no_gpu_patience_s=4)
    async with started(backend), httpx.AsyncClient(timeout=30) as http:
        await backend.up(http, "/livez")
        answer = await http.post(f"{backend.url}/generate", json={"mode": "tiny"})
        assert (answer.status_code, answer.json()["code"]) == (503, "no_gpu")
        assert int(answer.headers["retry-after"]) >= 1
        assert (await http.get(f"{backend.url}/readyz")).status_code == 503
        one = await put(http, backend.url)
        waiting = (await http.get(f"{backend.url}/generations/{one}")).json()
        assert (waiting["status"], waiting["position"]) == ("queued", 1)
        await until_all(http, backend.url, [one], "failed")
        gave_up = (await http.get(f"{backend.url}/generations/{one}")).json()
        assert gave_up["error"]["code"] == "no_gpu"


async def test_a_stop_is_quick_and_a_new_start_finds_everything(farm: Farm, tmp_path: Path) -> None:
    (gone,) = free_ports(1)
    backend = Backend(tmp_path, [*farm.urls, f"http://127.0.0.1:{gone}"])
    async with started(backend), httpx.AsyncClient(timeout=30) as http:
        await backend.up(http)
        await farm.fault("slow", seconds=0.3)
        ids = [await put(http, backend.url, steps=20, user=str(n)) for n in range(5)]
        await until_all(http, backend.url, ids[:1], "running")
        backend.send(signal.SIGTERM)
        await asyncio.to_thread(backend.wait, 10)
        await farm.clear()
        backend.environment["BACKEND_GPU_SERVERS"] = farm.urls[0]
        backend.start()
        await backend.up(http)
        await until_all(http, backend.url, ids, "succeeded")
        prompts = farm.prompts()
        assert [prompts.count(one) for one in ids] == [1] * 5
        backend.send(signal.SIGTERM)
        await asyncio.to_thread(backend.wait, 10)
        backend.environment["BACKEND_RESULT_TTL_HOURS"] = "0.00001"
        backend.start()
        await backend.up(http)

        async def expired() -> bool:
            return not await states(http, backend.url)

        await until(expired, "pictures and prompts to expire")
        assert not [path for path in (tmp_path / "backend" / "images").rglob("*") if path.is_file()]
        assert "Traceback" not in backend.output()


async def test_a_job_on_a_pod_that_is_no_longer_configured_is_drawn_elsewhere(
    farm: Farm, tmp_path: Path
) -> None:
    other = Farm(tmp_path / "other", 1)
    backend = Backend(tmp_path, other.urls)
    async with started(other, backend), httpx.AsyncClient(timeout=30) as http:
        await other.up()
        await other.fault("slow", seconds=1)
        await backend.up(http)
        one = await put(http, backend.url, steps=100)
        await until_all(http, backend.url, [one], "running")
        backend.kill()
        backend.environment["BACKEND_GPU_SERVERS"] = farm.urls[0]
        backend.start()
        await backend.up(http)
        await until_all(http, backend.url, [one], "succeeded")
        assert one in farm.prompts()


async def test_a_row_that_cannot_be_read_fails_and_the_others_are_drawn(
    farm: Farm, tmp_path: Path
) -> None:
    (gone,) = free_ports(1)
    backend = Backend(tmp_path, [f"http://127.0.0.1:{gone}"])
    async with started(backend), httpx.AsyncClient(timeout=30) as http:
        await backend.up(http, "/livez")
        bad, good = [await put(http, backend.url, user="anna") for _ in range(2)]
        backend.kill()
        with sqlite3.connect(tmp_path / "backend" / "easel.sqlite3") as database:
            database.execute("UPDATE generations SET \"order\" = '{}' WHERE id = ?", (bad,))
        database.close()
        backend.environment["BACKEND_GPU_SERVERS"] = farm.urls[0]
        backend.start()
        await backend.up(http)
        await until_all(http, backend.url, [good], "succeeded")
        found = (await http.get(f"{backend.url}/generations/{bad}")).json()
        assert (found["status"], found["error"]["code"]) == ("failed", "internal")


async def test_an_older_database_that_takes_no_id_twice_says_so(tmp_path: Path) -> None:
    (tmp_path / "backend").mkdir()
    with sqlite3.connect(tmp_path / "backend" / "easel.sqlite3") as database:
        database.execute("CREATE TABLE spending (id PRIMARY KEY, who, created, images)")
    database.close()
    (gone,) = free_ports(1)
    backend = Backend(tmp_path, [f"http://127.0.0.1:{gone}"])
    async with started(backend), httpx.AsyncClient(timeout=30) as http:
        await backend.up(http, "/livez")
        one = await put(http, backend.url)
        for outcome in ("cancelled", "deleted"):
            answer = await http.delete(f"{backend.url}/generations/{one}")
            assert answer.json()["outcome"] == outcome
        again = await http.put(f"{backend.url}/generations/{one}", json={"mode": "tiny"})
        assert (again.status_code, again.json()["code"]) == (409, "conflict")


async def test_a_backend_that_cannot_take_up_a_row_ends_that_row_and_runs(tmp_path: Path) -> None:
    kept = Database(f"sqlite:///{tmp_path / 'backend' / 'easel.sqlite3'}")
    await kept.open()
    await kept.close()
    with sqlite3.connect(tmp_path / "backend" / "easel.sqlite3") as database:
        columns = 'id, owner, user, fingerprint, "order", count, status, created'
        values = "'no id', 'local', '', '', '{}', 1, 'queued', 0"
        database.execute(f"INSERT INTO generations ({columns}) VALUES ({values})")
    database.close()
    backend = Backend(tmp_path, ["http://127.0.0.1:1"])
    async with started(backend), httpx.AsyncClient() as http:
        await backend.up(http, "/livez")
        (one,) = (await states(http, backend.url)).values()
        assert (one["status"], one["error"]["code"]) == ("failed", "internal")
    assert "row_unreadable" in backend.output()


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("BACKEND_HOST", "0.0.0.0", "BACKEND_API_KEYS"),
        ("BACKEND_API_KEYS", "alice:short", "at least 16 printable ASCII characters"),
        ("BACKEND_MAX_QUEU", "1", "did you mean BACKEND_MAX_QUEUE"),
        ("BACKEND_GPU_SERVERS", "somewhere", "http://"),
    ],
)
async def test_a_start_that_cannot_be_right_is_refused_in_one_sentence(
    tmp_path: Path, setting: str, value: str, said: str
) -> None:
    backend = Backend(tmp_path, ["http://127.0.0.1:1"])
    backend.environment[setting] = value
    async with started(backend):
        assert await asyncio.to_thread(backend.wait, 60) != 0
    assert said in backend.output()
    assert len(backend.output().strip().splitlines()) == 1
