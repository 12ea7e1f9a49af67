"""Routes for graphs to run: submit, queue, history, interrupt, free memory."""

import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpu_server.sketch.engine import Engine
from gpu_server.sketch.graphs.validation import validate
from gpu_server.sketch.jobs.queue import Job
from gpu_server.sketch.routes import connections
from gpu_server.sketch.routes.replies import empty, engine_of, json_body, json_reply


async def post_prompt(request: Request) -> Response:
    engine = engine_of(request)
    body = await json_body(request)
    if "prompt" not in body:
        text = "No prompt provided"
        error = {"type": "no_prompt", "message": text, "details": text, "extra_info": {}}
        return json_reply({"error": error, "node_errors": {}}, 400)
    graph = body["prompt"]
    number = _number(body, engine)
    prompt_id = str(body.get("prompt_id", uuid.uuid4()))
    targets = body.get("partial_execution_targets")
    verdict = validate(graph, targets, engine.definitions, engine.folders)
    extra_data = body.get("extra_data", {})
    if "client_id" in body:
        if isinstance(body["client_id"], list | dict):  # would end ComfyUI's process
            raise TypeError("client_id must be a string")
        extra_data["client_id"] = body["client_id"]
    if verdict.error is not None:
        return json_reply({"error": verdict.error, "node_errors": verdict.node_errors}, 400)
    if engine.faults.strikes("silent_drop_node_errors"):
        dropped = verdict.outputs.pop()
        verdict.node_errors[dropped] = _dropped(graph[dropped]["class_type"], dropped)
    if not engine.faults.strikes("lost_prompt"):
        engine.queue.put(Job(number, prompt_id, graph, extra_data, verdict.outputs))
    if engine.faults.strikes("post_lost"):
        connections.cut([request])
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
    return json_reply(engine_of(request).status())


async def get_queue(request: Request) -> Response:
    running, pending = engine_of(request).queue.snapshot()
    return json_reply({"queue_running": running, "queue_pending": pending})


async def post_queue(request: Request) -> Response:
    engine = engine_of(request)
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
    return json_reply(engine_of(request).queue.history(max_items, offset))


async def get_history_of(request: Request) -> Response:
    return json_reply(engine_of(request).queue.history_of(request.path_params["prompt_id"]))


async def post_history(request: Request) -> Response:
    engine = engine_of(request)
    body = await json_body(request)
    if body.get("clear"):
        engine.queue.clear_history()
    if "delete" in body:
        engine.queue.delete_history(body["delete"])
    return empty()


async def post_interrupt(request: Request) -> Response:
    engine = engine_of(request)
    try:
        body = await json_body(request)
    except ValueError:
        body = {}
    prompt_id = body.get("prompt_id")
    running, _ = engine.queue.snapshot()
    hit = not prompt_id or any(job.prompt_id == prompt_id for job in running)
    if hit and not engine.faults.strikes("interrupt_lost"):
        engine.worker.interrupt()
    return empty()


async def post_free(request: Request) -> Response:
    body = await json_body(request)
    body.get("unload_models")  # nothing to unload; raises for a body that is not an object (500)
    if body.get("free_memory"):
        engine_of(request).worker.free_memory()
    return empty()


ROUTES = [
    Route("/prompt", get_prompt),
    Route("/prompt", post_prompt, methods=["POST"]),
    Route("/queue", get_queue),
    Route("/queue", post_queue, methods=["POST"]),
    Route("/history", get_history),
    Route("/history", post_history, methods=["POST"]),
    Route("/history/{prompt_id}", get_history_of),
    Route("/interrupt", post_interrupt, methods=["POST"]),
    Route("/free", post_free, methods=["POST"]),
]
