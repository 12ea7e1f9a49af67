"""A pod whose safety detector is not in order draws nothing, and everybody is told why."""

import os
import uuid
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import httpx
import pytest

from tests.drawing_requests import GOOD
from tests.services import ROOT, Program, files_below, free_port, until


def without(what: str, folder: Path) -> str:
    """Return a PYTHONPATH without the detector's model, with a damaged one, or no onnxruntime."""
    if what == "onnxruntime":
        folder.mkdir(parents=True)
        (folder / "onnxruntime.py").write_text("raise ImportError('libgomp.so.1: no such file')")
        return os.pathsep.join([str(folder), str(ROOT)])
    installed = Path(str(distribution("nudenet").locate_file("")))
    about = folder / "nudenet-0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nudenet\nVersion: 0\n")
    if what == "damaged":
        model = bytearray((installed / "nudenet" / "320n.onnx").read_bytes())
        model[len(model) // 2] ^= 1
        (folder / "nudenet").mkdir()
        (folder / "nudenet" / "320n.onnx").write_bytes(model)
    return os.pathsep.join([str(folder), str(ROOT)])


@pytest.fixture(scope="module", params=["missing", "damaged", "onnxruntime"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, str], Path]]:
    """Run engine, GPU server and backend; yield their URLs and the folder they work in."""
    folder = tmp_path_factory.mktemp("unsafe")
    ports = {name: free_port() for name in ("engine", "gpu", "backend")}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    arguments = ("--port", str(ports["engine"]), "--base-dir", str(folder / "comfyui"))
    gpu = {"GPU_PORT": str(ports["gpu"]), "COMFYUI_URL": urls["engine"]}
    gpu |= {"EASEL_DATA_DIR": str(folder / "gpu")}
    gpu |= {"PYTHONPATH": without(request.param, folder / "site")}
    backend = {"BACKEND_PORT": str(ports["backend"]), "BACKEND_GPU_SERVERS": urls["gpu"]}
    backend |= {"EASEL_DATA_DIR": str(folder / "backend")}
    with (
        Program("gpu_server.sketch", arguments, folder=folder),
        Program("gpu_server", (), gpu, folder),
        Program("backend", (), backend, folder),
    ):
        yield urls, folder


def ready(url: str) -> tuple[int, dict[str, str]]:
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return 0, {}
    return answer.status_code, answer.json()["checks"]


def test_a_pod_without_its_detector_draws_nothing_and_says_why(
    stack: tuple[dict[str, str], Path],
) -> None:
    urls, folder = stack
    pod, backend = urls["gpu"], urls["backend"]
    until(lambda: ready(pod)[1].get("styles") == "ok", "the GPU server to know its engine")
    status, checks = ready(pod)
    wrong = {name: state for name, state in checks.items() if state != "ok"}
    assert (status, list(wrong)) == (503, ["safety"])
    assert "detector" in wrong["safety"]
    assert "./startup.sh" in wrong["safety"]
    assert str(folder) not in wrong["safety"]
    with httpx.Client(timeout=60, trust_env=False) as http:
        for mode in ("free", "restyle"):
            number = uuid.uuid4()
            for answer in (
                http.post(f"{pod}/generate", json=GOOD[mode]),
                http.put(f"{pod}/jobs/{number}", json=GOOD[mode]),
            ):
                assert (answer.status_code, answer.json()["code"]) == (503, "no_gpu")
                assert "safety check" in answer.json()["detail"]
                assert int(answer.headers["retry-after"]) >= 1
            assert http.get(f"{pod}/jobs/{number}").status_code == 404
        until(lambda: "detector" in ready(backend)[1].get("pods", ""), "the backend to know why")
        assert ready(backend)[0] == 503
        [told] = http.get(f"{backend}/health").json()["pods"]
        assert not told["in_service"]
        assert "detector" in told["reason"]
        answer = http.post(f"{backend}/generate", json=GOOD["free"])
        assert (answer.status_code, answer.json()["code"]) == (503, "no_gpu")
        assert "safety check" in answer.json()["detail"]
        accepted = http.put(f"{backend}/generations/{uuid.uuid4()}", json=GOOD["free"])
        assert accepted.json()["status"] == "queued"
        assert http.get(f"{urls['engine']}/history").json() == {}
        assert http.get(f"{urls['engine']}/prompt").json()["exec_info"]["queue_remaining"] == 0
    assert not files_below(folder / "comfyui" / "output")
    assert not files_below(folder / "comfyui" / "input")
