"""The routes for prompts, queue, history and facts about the engine."""

import platform
import uuid
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpu_server.sketch import connections
from gpu_server.sketch.engine import Engine
from gpu_server.sketch.jobs import Job
from gpu_server.sketch.replies import empty, json_body, json_reply, text
from gpu_server.sketch.sockets import SERVER_FEATURES
from gpu_server.sketch.validation import validate

PROTOCOL_VERSION = "0.3.64"  # of ComfyUI, as recorded

_HOME = """<!doctype html><meta charset="utf-8"><title>Sketch engine</title>
<p>This is Easel's sketch engine. It speaks ComfyUI's protocol and draws simple pictures
<b>without an AI model</b>. Connect a real ComfyUI to get real images.</p>
"""


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


async def home(_: Request) -> Response:
    return Response(_HOME, media_type="text/html", headers={"cache-control": "no-cache"})


async def post_prompt(request: Request) -> Response:
    engine = _engine(request)
    body = await json_body(request)
    if "prompt" not in body:
        details = "No prompt provided"
        error = {"type": "no_prompt", "message": details, "details": details, "extra_info": {}}
        return json_reply({"error": error, "node_errors": {}}, 400)
    prompt = body["prompt"]
    number = _number(body, engine)
    prompt_id = str(body.get("prompt_id", uuid.uuid4()))
    targets = body.get("partial_execution_targets")
    verdict = validate(prompt, targets, engine.definitions, engine.folders)
    extra_data = body.get("extra_data", {})
    if "client_id" in body:
        if isinstance(body["client_id"], list | dict):  # ends ComfyUI's process
            raise TypeError("client_id must be a string")
        extra_data["client_id"] = body["client_id"]
    if verdict.error is not None:
        return json_reply({"error": verdict.error, "node_errors": verdict.node_errors}, 400)
    if engine.faults.strikes("silent_drop_node_errors"):
        dropped = verdict.outputs.pop()
        verdict.node_errors[dropped] = _dropped(prompt[dropped]["class_type"], dropped)
    if not engine.faults.strikes("lost_prompt"):
        engine.queue.put(Job(number, prompt_id, prompt, extra_data, verdict.outputs))
    if engine.faults.strikes("post_lost"):
        connections.cut(request)
    return json_reply(
        {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
    )


def _number(body: dict[str, Any], engine: Engine) -> float:
    if "number" in body:
        return float(body["number"])
    number = next(engine.numbers)
    return -number if body.get("front") else number


def _dropped(class_type: str, node_id: str) -> dict[str, Any]:
    fault = {
        "type": "custom_validation_failed",
        "message": "Custom validation failed for node",
        "details": "",
        "extra_info": {},
    }
    return {"errors": [fault], "dependent_outputs": [node_id], "class_type": class_type}


async def get_prompt(request: Request) -> Response:
    return json_reply(_engine(request).status())


async def get_queue(request: Request) -> Response:
    running, pending = _engine(request).queue.snapshot()
    return json_reply({"queue_running": running, "queue_pending": pending})


async def post_queue(request: Request) -> Response:
    engine = _engine(request)
    body = await json_body(request)
    if body.get("clear"):
        engine.queue.clear_pending()
    if "delete" in body:
        engine.queue.delete_pending(body["delete"])
    return empty()


async def get_history(request: Request) -> Response:
    query = request.query_params
    max_items = int(query["max_items"]) if "max_items" in query else None
    offset = int(query["offset"]) if "offset" in query else -1
    return json_reply(_engine(request).queue.history(max_items, offset))


async def get_history_of(request: Request) -> Response:
    return json_reply(_engine(request).queue.history_of(request.path_params["prompt_id"]))


async def post_history(request: Request) -> Response:
    engine = _engine(request)
    body = await json_body(request)
    if body.get("clear"):
        engine.queue.clear_history()
    if "delete" in body:
        engine.queue.delete_history(body["delete"])
    return empty()


async def post_interrupt(request: Request) -> Response:
    engine = _engine(request)
    try:
        body = await json_body(request)
    except ValueError:
        body = {}
    wanted = body.get("prompt_id")
    running, _ = engine.queue.snapshot()
    hit = not wanted or any(job.prompt_id == wanted for job in running)
    if hit and not engine.faults.strikes("interrupt_lost"):
        engine.worker.interrupt()
    return empty()


async def post_free(request: Request) -> Response:
    body = await json_body(request)
    body.get("unload_models")  # there is no model to unload; a body that is no object is a 500
    if body.get("free_memory"):
        _engine(request).worker.free_memory()
    return empty()


async def get_system_stats(_: Request) -> Response:
    memory = {"vram_total": 0, "vram_free": 0, "torch_vram_total": 0, "torch_vram_free": 0}
    return json_reply(
        {
            "system": {
                "os": "posix",
                "ram_total": 0,
                "ram_free": 0,
                "comfyui_version": PROTOCOL_VERSION,
                "easel_engine": "sketch",
                "python_version": platform.python_version(),
                "pytorch_version": f"none (numpy {np.__version__})",
                "embedded_python": False,
                "argv": [],
            },
            "devices": [{"name": "sketch, no GPU", "type": "cpu", "index": None, **memory}],
        }
    )


async def get_object_info(request: Request) -> Response:
    class_type = request.path_params.get("class_type")
    return json_reply(_engine(request).definitions.object_info(class_type))


async def get_models(request: Request) -> Response:
    folder = request.path_params.get("folder")
    models = _engine(request).definitions.models
    if folder is None:
        return json_reply(list(models))
    return json_reply(models[folder]) if folder in models else empty(404)


async def get_features(_: Request) -> Response:
    return json_reply(SERVER_FEATURES)


async def get_embeddings(_: Request) -> Response:
    return json_reply([])


async def get_easel(request: Request) -> Response:
    engine = _engine(request)
    output = str(engine.folders["output"])
    return json_reply(
        {"version": 1, "boot_id": engine.boot_id, "engine": "sketch", "output": output}
    )


async def delete_easel_job(request: Request) -> Response:
    jobs = request.path_params["job_ids"].lower().split(",")
    try:
        usual = [str(uuid.UUID(job)) for job in jobs]
    except ValueError:
        return text("The job id must be a UUID.", 400)
    if usual != jobs:
        return text("The job id must be a UUID in its usual form with hyphens.", 400)
    folders = _engine(request).folders
    return json_reply({"removed": sum(folders.remove_job(job) for job in jobs)})


async def plain_get_of_socket(request: Request) -> Response:
    upgrade = request.headers.get("upgrade")
    return text(f'No WebSocket UPGRADE hdr: {upgrade}\n Can "Upgrade" only to "WebSocket".', 400)


ROUTES = [
    Route("/", home),
    Route("/ws", plain_get_of_socket),
    Route("/prompt", get_prompt),
    Route("/prompt", post_prompt, methods=["POST"]),
    Route("/queue", get_queue),
    Route("/queue", post_queue, methods=["POST"]),
    Route("/history", get_history),
    Route("/history", post_history, methods=["POST"]),
    Route("/history/{prompt_id}", get_history_of),
    Route("/interrupt", post_interrupt, methods=["POST"]),
    Route("/free", post_free, methods=["POST"]),
    Route("/system_stats", get_system_stats),
    Route("/object_info", get_object_info),
    Route("/object_info/{class_type}", get_object_info),
    Route("/models", get_models),
    Route("/models/{folder}", get_models),
    Route("/features", get_features),
    Route("/embeddings", get_embeddings),
]

EASEL_ROUTES = [
    Route("/easel", get_easel),
    Route("/easel/jobs/{job_ids}", delete_easel_job, methods=["DELETE"]),
]
