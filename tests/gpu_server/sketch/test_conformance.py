"""The engine, or the ComfyUI at COMFYUI_URL, behaves as recorded from ComfyUI 0.3.64.

Where 0.33.0 answers otherwise (unknown nodes, a graph that is a list), it is as 0.33.0 does.

`recordings/` holds reduced recordings: requests, statuses, bodies without tracebacks and tooltips,
and frames in the short form of `comfy.short`.
"""

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.gpu_server.sketch.comfy import CHECKPOINTS, Comfy

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORDINGS = Path(__file__).parent / "recordings"

Exchange = dict[str, Any]


def _load(name: str) -> list[Any]:
    content: list[Any] = json.loads((RECORDINGS / name).read_text("utf-8"))
    return content


def _by_label(exchanges: list[Exchange]) -> list[Any]:
    return [pytest.param(exchange, id=exchange["label"]) for exchange in exchanges]


async def _with_own_checkpoint(comfy: Comfy, body: Any, is_real: bool) -> Any:
    """Replace the recorded checkpoint in the body with one the server has."""
    text = json.dumps(body)
    if not is_real or not any(name in text for name in CHECKPOINTS):
        return body
    offered = (await comfy.http.get("/models/checkpoints")).json()
    if not offered:
        pytest.skip("this ComfyUI has no checkpoint")
    for name in CHECKPOINTS:
        text = text.replace(name, offered[0])
    return json.loads(text)


def _without_details(node_errors: dict[str, Any], is_real: bool) -> dict[str, Any]:
    """Put errors into a fixed order; on a server with other models, keep only their kinds."""
    plain = {}
    for node_id, entry in node_errors.items():
        errors = [_without_unrecorded(error) for error in entry["errors"]]
        if is_real:
            errors = [error["type"] for error in errors]
        errors.sort(key=str)
        outputs = sorted(entry["dependent_outputs"])
        plain[node_id] = (entry["class_type"], outputs, errors)
    return plain


def _without_unrecorded(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_unrecorded(item)
            for key, item in value.items()
            if key not in ("traceback", "tooltip")
        }
    return [_without_unrecorded(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("exchange", _by_label(_load("validation.json")))
async def test_a_faulty_graph_is_answered_as_recorded(
    comfy: Comfy, is_real: bool, exchange: Exchange
) -> None:
    body = await _with_own_checkpoint(comfy, exchange["json"], is_real)
    answer = await comfy.http.post("/prompt", json=body)
    assert answer.status_code == exchange["status"]
    assert answer.headers["content-type"] == exchange["content_type"]
    reply, recorded = answer.json(), exchange["reply"]
    assert _without_details(reply["node_errors"], is_real) == _without_details(
        recorded["node_errors"], is_real
    )
    if "error" in recorded:
        assert reply["error"] == recorded["error"]


@pytest.mark.parametrize("exchange", _by_label(_load("bodies.json")))
async def test_a_strange_body_is_answered_as_recorded(comfy: Comfy, exchange: Exchange) -> None:
    answer = await comfy.http.request(
        exchange["method"],
        exchange["path"],
        content=exchange.get("body", ""),
        headers=exchange.get("headers"),
    )
    assert answer.status_code == exchange["status"]
    if "content_type" in exchange:
        assert answer.headers["content-type"] == exchange["content_type"]
    if isinstance(exchange.get("reply"), str):
        assert answer.text == exchange["reply"]
    elif "reply" in exchange:
        assert answer.json()["error"] == exchange["reply"]["error"]


@pytest.mark.parametrize("exchange", _by_label(_load("files.json")))
async def test_a_path_that_leaves_the_folders_is_refused_as_recorded(
    comfy: Comfy, is_real: bool, exchange: Exchange
) -> None:
    if is_real and exchange["method"] == "POST":
        pytest.skip("would leave files in the folders of this ComfyUI")
    answer = await _send_files(comfy, exchange)
    assert answer.status_code == exchange["status"]
    if isinstance(exchange.get("reply"), dict):
        assert answer.json() == exchange["reply"]


async def test_uploads_get_the_recorded_names(comfy: Comfy, is_real: bool) -> None:
    if is_real:
        pytest.skip("would leave files in the folders of this ComfyUI")
    for exchange in _load("uploads.json"):
        answer = await _send_files(comfy, exchange)
        assert answer.status_code == exchange["status"], exchange["label"]
        if isinstance(exchange.get("reply"), dict):
            assert answer.json() == exchange["reply"], exchange["label"]


async def _send_files(comfy: Comfy, exchange: Exchange) -> Any:
    files = {
        field: (file["filename"], file["content"].encode())
        for field, file in exchange.get("files", {}).items()
    }
    return await comfy.http.request(
        exchange["method"],
        exchange["path"],
        params=exchange.get("params"),
        data=exchange.get("form"),
        files=files or None,
        content=exchange.get("body", "").encode() or None,
        headers=exchange.get("headers"),
    )


@pytest.mark.parametrize(
    "recording", [pytest.param(item, id=item["scenario"]) for item in _load("runs.json")]
)
async def test_a_job_sends_the_recorded_frames_and_leaves_the_recorded_history(
    comfy: Comfy, is_real: bool, recording: dict[str, Any]
) -> None:
    client = uuid.uuid4().hex
    text = json.dumps(recording["runs"])
    if is_real and "sd3_tiny_random" in text:
        pytest.skip("needs the recorded SD3 models")
    if is_real and "SaveImageWebsocket" in text and not await comfy.has_node("SaveImageWebsocket"):
        pytest.skip("this ComfyUI runs without its node SaveImageWebsocket")
    runs = await _with_own_checkpoint(comfy, recording["runs"], is_real)
    async with comfy.socket(client) as socket:
        socket.frames.clear()
        for run in runs:
            entry = await _run(comfy, socket, client, run)
            seen, socket.frames = socket.frames, []
            expected = run["frames"]
            if is_real and not any(frame.startswith("preview") for frame in seen):
                expected = [frame for frame in expected if not frame.startswith("preview")]
            if run["history"] is not None and len(run["history"]["outputs"]) > 1:
                # ComfyUI runs several outputs in any order, so only the kinds of frames are fixed.
                seen, expected = _kinds(seen), _kinds(expected)
            assert seen == expected
            if run["history"] is not None:
                assert _outline(entry) == run["history"]


def _kinds(frames: list[str]) -> list[str]:
    return [frame.partition("(")[0] for frame in frames]


async def _run(comfy: Comfy, socket: Any, client: str, run: dict[str, Any]) -> dict[str, Any]:
    request = dict(run["request"])
    return await comfy.run(request.pop("prompt"), socket, client, **request)


def _outline(entry: dict[str, Any]) -> dict[str, Any]:
    """Reduce a history entry: no numbers in file names, no ids, no times."""
    outputs = json.dumps(entry["outputs"])
    outputs = re.sub(r"ComfyUI_temp_.....", "ComfyUI_temp_X", re.sub(r"\d+_\.", "N_.", outputs))
    status = entry["status"]
    return {
        "prompt_types": [type(part).__name__ for part in entry["prompt"]],
        "outputs": json.loads(outputs),
        "status": {
            "status_str": status["status_str"],
            "completed": status["completed"],
            "messages": [name for name, _ in status["messages"]],
        },
        "meta": entry["meta"],
    }
