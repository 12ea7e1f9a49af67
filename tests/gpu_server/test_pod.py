"""The pod as a whole: what it says of itself, and what operators can do."""

from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from gpu_server import sketch
from gpu_server.schemas import State
from tests import services
from tests.gpu_server.engines import Comfy, engine, until
from tests.gpu_server.pictures.samples import photo, pixels
from tests.gpu_server.servers import SMALL, Pod, serving
from tests.services import SHIPPED_MODES, free_port


async def test_health_names_each_style_with_its_files(pod: Pod) -> None:
    health = await pod.client.health()
    assert health.status == "ok"
    assert health.gpu_available
    assert health.engine.startswith("sketch")
    anime = health.styles["free"]["anime"]
    assert anime.available
    assert anime.files == {"animagine-xl-4.0-opt.safetensors": True}


async def test_without_an_engine_the_server_lives_and_is_not_ready(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with serving(url, tmp_path / "data", ready=False) as pod:
        assert (await pod.http.get("/livez")).status_code == 200
        status, checks = await pod.readiness()
        assert status == 503
        assert "is ComfyUI running?" in checks["comfyui"]
        assert (await pod.client.health()).status == "starting"
        answer = await pod.http.post("/generate", json=SMALL)
        assert (answer.status_code, answer.json()["code"]) == (503, "no_gpu")


@pytest.mark.parametrize("answer", [{}, [], {"system": "fine"}, {"system": {}, "devices": 1}])
async def test_another_program_on_the_engines_port_is_called_what_it_is(
    tmp_path: Path, answer: Any
) -> None:
    async def say(_: Request) -> JSONResponse:
        return JSONResponse(answer)

    stranger = Starlette(routes=[Route("/{path:path}", say, methods=["GET", "POST"])])
    with services.served(stranger) as url:
        async with serving(url, tmp_path / "data", ready=False) as pod:

            async def is_named() -> bool:
                status, checks = await pod.readiness()
                return status == 503 and "another program" in checks["comfyui"]

            await until(is_named, "it is seen that this is no ComfyUI")
            assert (await pod.http.get("/livez")).status_code == 200
            refused = await pod.http.post("/generate", json=SMALL)
            assert (refused.status_code, refused.json()["code"]) == (503, "no_gpu")


async def test_the_engine_may_come_later(tmp_path: Path) -> None:
    port = free_port()
    async with (
        serving(f"http://127.0.0.1:{port}", tmp_path / "data", ready=False) as pod,
        engine(tmp_path / "comfyui", port=port),
    ):
        await pod.until_ready()
        assert (await pod.ended((await pod.put()).id)).status is State.succeeded


async def test_warm_up_draws_before_the_server_is_ready(comfy: Comfy, tmp_path: Path) -> None:
    await comfy.fault("slow_load", seconds=0.3)
    async with serving(comfy.url, tmp_path / "data", ready=False, gpu_warm_up=True) as pod:
        status, checks = await pod.readiness()
        assert status == 503
        assert "being loaded" in checks["warm_up"]
        await pod.until_ready()
        health = await pod.client.health()
        assert health.loaded_model == "z-image-turbo"
        await until(lambda: not pod.kept_files(), "nothing is kept of it")


async def test_a_warm_up_does_not_delay_a_job_recovered_after_a_restart(
    comfy: Comfy, tmp_path: Path
) -> None:
    await comfy.fault("slow", seconds=5)
    async with serving(comfy.url, tmp_path / "data") as pod:
        job = await pod.put()
        await pod.when(job.id, lambda now: now.status is State.running)
    async with serving(comfy.url, tmp_path / "data", gpu_warm_up=True) as pod:
        running, waiting = await comfy.queue()
        assert {*running, *waiting} <= {str(job.id)}
        await comfy.clear_faults()
        assert (await pod.ended(job.id)).status is State.succeeded


async def test_an_image_recovered_after_a_restart_is_signed_with_its_own_origin(
    comfy: Comfy, tmp_path: Path
) -> None:
    await comfy.fault("slow", seconds=5)
    async with serving(comfy.url, tmp_path / "data") as pod:
        job = await pod.put()
        await pod.when(job.id, lambda now: now.status is State.running)
    async with serving(comfy.url, tmp_path / "data") as pod:
        await comfy.clear_faults()
        ended = await pod.ended(job.id)
        assert ended.engine.startswith("sketch")
        picture = await pod.client.image(job.id, 0)
        assert b"digitalsourcetype/algorithmicMedia" in picture
        assert b"trainedAlgorithmicMedia" not in picture


async def test_a_node_definition_that_cannot_be_read_takes_out_its_styles_alone(
    tmp_path: Path,
) -> None:
    async def broken(_: Request) -> JSONResponse:
        return JSONResponse({"CheckpointLoaderSimple": 5})

    engine_app = sketch.create_app(tmp_path / "comfyui")
    route = Route("/object_info/CheckpointLoaderSimple", broken)
    engine_app.router.routes.insert(0, route)
    with services.served(engine_app) as url:
        async with serving(url, tmp_path / "data") as pod:
            styles = (await pod.client.health()).styles["free"]
            assert not styles["anime"].available
            assert "definition that cannot be read" in (styles["anime"].reason or "")
            assert (await pod.ended((await pod.put(style="lux")).id)).status is State.succeeded


async def test_an_operator_can_free_memory(comfy: Comfy, pod: Pod) -> None:
    await pod.ended((await pod.put()).id)
    assert (await pod.client.health()).loaded_model
    assert (await pod.http.post("/free")).status_code == 202
    assert (await pod.client.health()).loaded_model is None


async def test_freeing_memory_gives_a_replaced_model_another_chance(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("damaged_model", count=1)
    await pod.ended((await pod.put(style="anime")).id)

    async def available() -> bool:
        return (await pod.client.health()).styles["free"]["anime"].available

    async def out() -> bool:
        return not await available()

    await until(out, "the style is out")
    await pod.http.post("/free")
    await until(available, "the style is back")
    assert (await pod.ended((await pod.put(style="anime")).id)).status is State.succeeded


async def test_metrics_count_what_happened(comfy: Comfy, pod: Pod) -> None:
    await comfy.fault("slow", seconds=0.05)
    jobs = [await pod.put() for _ in range(3)]
    for job in jobs:
        await pod.ended(job.id)
    text = (await pod.http.get("/metrics")).text
    assert 'easel_gpu_jobs_total{mode="free",outcome="succeeded",style="realism"} 3.0' in text
    assert await pod.metric("easel_gpu_comfyui_up") == 1
    assert await pod.metric("easel_gpu_queue_depth") == 0
    assert await pod.metric("easel_gpu_idle_seconds_count") >= 1
    assert await pod.metric("easel_gpu_job_seconds_count") == 12
    assert await pod.metric("easel_gpu_previews_dropped_total") >= 1


async def test_the_modes_are_described_with_what_is_available(pod: Pod) -> None:
    modes = {mode.name: mode for mode in await pod.client.modes()}
    assert set(modes) == {*SHIPPED_MODES}
    assert modes["restyle"].takes_image
    assert all(style.available for mode in modes.values() for style in mode.styles)


async def test_without_our_nodes_previews_serve_as_output(tmp_path: Path) -> None:
    async with (
        engine(tmp_path / "comfyui", plain=True) as comfy,
        serving(comfy.url, tmp_path / "data") as pod,
    ):
        ended = await pod.ended((await pod.put()).id)
        assert ended.status is State.succeeded
        assert await pod.client.image(ended.id, 0)
        answer = await pod.http.put(
            f"/jobs/{ended.id.__class__(int=1)}",
            data={"request": '{"mode": "restyle", "width": 256, "height": 256}'},
            files={"image": ("photo", photo(), "image/jpeg")},
        )
        assert answer.status_code == 202
        restyled = await pod.ended(ended.id.__class__(int=1))
        assert restyled.status is State.succeeded
        assert comfy.files() == []


async def test_a_cached_picture_that_is_gone_is_drawn_again(tmp_path: Path) -> None:
    async with (
        engine(tmp_path / "comfyui", plain=True) as comfy,
        serving(comfy.url, tmp_path / "data") as pod,
    ):
        first = await pod.ended((await pod.put(seed=3)).id)
        await comfy.fault("cached_file_gone", count=1)
        again = await pod.ended((await pod.put(seed=3)).id)
        assert again.status is State.succeeded
        assert pixels(await pod.client.image(again.id, 0)) == pixels(
            await pod.client.image(first.id, 0)
        )
