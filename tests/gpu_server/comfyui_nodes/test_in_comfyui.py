"""The nodes inside a real ComfyUI, at `COMFYUI_URL`."""

import os
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from uuid import uuid4

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Graph = dict[str, dict[str, Any]]

JOB = "97fa8389-9c5e-451d-9530-130e0784e949"


@pytest.fixture
def comfyui() -> Iterator[httpx.Client]:
    url = os.environ.get("COMFYUI_URL")
    if not url:
        pytest.skip("COMFYUI_URL does not name a ComfyUI to test the nodes in")
    with httpx.Client(base_url=url, timeout=60) as client:
        if client.get("/easel").status_code == 404:
            pytest.skip(f"the ComfyUI at {url} has no custom_nodes/easel_nodes")
        yield client


@pytest.fixture
def job(comfyui: httpx.Client) -> Iterator[str]:
    job = str(uuid4())
    yield job
    comfyui.delete(f"/easel/jobs/{job}")


def run(comfyui: httpx.Client, graph: Graph) -> dict[str, Any]:
    """Run `graph` to its end and return its entry in ComfyUI's history."""
    answer = comfyui.post("/prompt", json={"prompt": graph}).json()
    assert not answer.get("node_errors"), answer
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        history: dict[str, Any] = comfyui.get(f"/history/{answer['prompt_id']}").json()
        if history:
            entry: dict[str, Any] = history[answer["prompt_id"]]
            return entry
        time.sleep(0.01)
    raise TimeoutError("the graph did not end within 60 s")


def fetch(comfyui: httpx.Client, file: dict[str, str]) -> tuple[str, NDArray[np.uint8]]:
    answer = comfyui.get("/view", params=file).raise_for_status()
    with Image.open(BytesIO(answer.content)) as image:
        return str(image.format), np.asarray(image.convert("RGB"))


def upload(comfyui: httpx.Client, job: str, pixels: NDArray[np.uint8]) -> str:
    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    answer = comfyui.post(
        "/upload/image",
        files={"image": ("photo.png", encoded.getvalue(), "image/png")},
        data={"subfolder": f"easel/{job}"},
    ).json()
    return f"{answer['subfolder']}/{answer['name']}"


def save(class_type: str, job: str, source: str, name: str = "image") -> dict[str, Any]:
    inputs = {"images": [source, 0], "filename_prefix": f"easel/{job}/{name}"}
    return {"class_type": class_type, "inputs": inputs}


def empty(**inputs: int) -> dict[str, Any]:
    values = {"width": 16, "height": 8, "batch_size": 1, "color": 0x336699, **inputs}
    return {"class_type": "EmptyImage", "inputs": values}


def test_the_pixels_are_those_of_save_image(comfyui: httpx.Client, job: str) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    # Lanczos overshoots and lands between the 256 levels, so clipping and rounding both matter.
    scale = {"upscale_method": "lanczos", "width": 200, "height": 120, "crop": "disabled"}
    blend = {"blend_factor": 0.37, "blend_mode": "soft_light"}
    graph: Graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": upload(comfyui, job, noise)}},
        "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], **scale}},
        "3": {"class_type": "ImageBlend", "inputs": {"image1": ["2", 0], "image2": ["1", 0]}},
        "4": save("SaveImage", job, "3"),
        "5": save("EaselOutput", job, "3", "raw"),
    }
    graph["3"]["inputs"] |= blend
    outputs = run(comfyui, graph)["outputs"]
    png_format, png = fetch(comfyui, outputs["4"]["images"][0])
    ppm_format, ppm = fetch(comfyui, outputs["5"]["images"][0])
    assert (png_format, ppm_format) == ("PNG", "PPM")
    assert ppm.shape == (120, 200, 3)
    assert np.array_equal(png, ppm)


def test_a_transparent_image_is_saved_with_its_alpha(comfyui: httpx.Client, job: str) -> None:
    mask = {"value": 0.25, "width": 16, "height": 8}
    graph: Graph = {
        "1": empty(),
        "2": {"class_type": "SolidMask", "inputs": mask},
        "3": {"class_type": "JoinImageWithAlpha", "inputs": {"image": ["1", 0], "alpha": ["2", 0]}},
        "4": save("EaselOutput", job, "3"),
    }
    _, pixels = fetch(comfyui, run(comfyui, graph)["outputs"]["4"]["images"][0])
    assert np.array_equal(pixels, np.full((8, 16, 4), (0x33, 0x66, 0x99, 0xBF)))


def test_a_batch_is_numbered_after_the_existing_files(comfyui: httpx.Client, job: str) -> None:
    graph: Graph = {"1": empty(batch_size=2), "2": save("EaselOutput", job, "1")}
    first = run(comfyui, graph)["outputs"]["2"]["images"]
    graph["1"]["inputs"]["color"] = 0
    second = run(comfyui, graph)["outputs"]["2"]["images"]
    assert [file["filename"] for file in first + second] == [
        f"image_0000{k}_.ppm" for k in (1, 2, 3, 4)
    ]
    assert {(file["subfolder"], file["type"]) for file in first + second} == {
        (f"easel/{job}", "output")
    }


def test_a_prefix_that_leaves_the_output_folder_fails(comfyui: httpx.Client) -> None:
    graph: Graph = {"1": empty(), "2": save("EaselOutput", "../..", "1")}
    assert run(comfyui, graph)["status"]["status_str"] == "error"


def test_it_identifies_itself(comfyui: httpx.Client) -> None:
    first, second = comfyui.get("/easel").json(), comfyui.get("/easel").json()
    assert first == second
    assert (first["version"], first["engine"]) == (1, "comfyui")
    assert len(first["boot_id"]) == 36


def test_a_deleted_jobs_files_are_gone(comfyui: httpx.Client, job: str) -> None:
    photo = upload(comfyui, job, np.zeros((8, 8, 3), np.uint8))
    graph: Graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": photo}},
        "2": save("EaselOutput", job, "1"),
    }
    file = run(comfyui, graph)["outputs"]["2"]["images"][0]
    uploaded = {"filename": "photo.png", "subfolder": f"easel/{job}", "type": "input"}
    assert comfyui.get("/view", params=file).status_code == 200
    answer = comfyui.delete(f"/easel/jobs/{job}")
    assert (answer.status_code, answer.json()) == (200, {"removed": 2})
    assert comfyui.get("/view", params=file).status_code == 404
    assert comfyui.get("/view", params=uploaded).status_code == 404
    assert comfyui.delete(f"/easel/jobs/{job}").json() == {"removed": 0}


@pytest.mark.parametrize("wrong", ["x", "%2E%2E%2Foutput", "*", JOB.upper()])
def test_only_a_job_id_can_be_deleted(comfyui: httpx.Client, wrong: str) -> None:
    answer = comfyui.delete(f"/easel/jobs/{wrong}")
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_job_id"
