"""Routes with facts about the engine: node definitions, models, features, system."""

import platform

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpu_server.sketch.routes.replies import empty, engine_of, json_reply

_PROTOCOL_VERSION = "0.3.64"  # of the ComfyUI that was recorded

_HOME = """<!doctype html><meta charset="utf-8"><title>Sketch engine</title>
<p>This is Easel's sketch engine. It speaks ComfyUI's protocol and draws simple pictures
<b>without an AI model</b>. Connect a real ComfyUI to get real images.</p>
"""


async def home(_: Request) -> Response:
    return Response(_HOME, media_type="text/html", headers={"cache-control": "no-cache"})


async def get_system_stats(_: Request) -> Response:
    memory = {"vram_total": 0, "vram_free": 0, "torch_vram_total": 0, "torch_vram_free": 0}
    return json_reply(
        {
            "system": {
                "os": "posix",
                "ram_total": 0,
                "ram_free": 0,
                "comfyui_version": _PROTOCOL_VERSION,
                "easel_engine": "sketch",
                "python_version": platform.python_version(),
                "pytorch_version": f"none (numpy {np.__version__})",
                "embedded_python": False,
                "argv": [],
            },
            "devices": [{"name": "sketch, no GPU", "type": "cpu", "index": None, **memory}],
        }
    )


async def get_logs(request: Request) -> Response:
    """Answer with the one fact of ComfyUI's log that tells something about its state."""
    entries = [{"t": "", "m": text} for text in engine_of(request).worker.last_words]
    return json_reply({"entries": entries, "size": {"cols": 80, "rows": 25}})


async def get_object_info(request: Request) -> Response:
    class_type = request.path_params.get("class_type")
    return json_reply(engine_of(request).definitions.object_info(class_type))


async def get_models(request: Request) -> Response:
    folder = request.path_params.get("folder")
    models = engine_of(request).definitions.models
    if folder is None:
        return json_reply(list(models))
    return json_reply(models[folder]) if folder in models else empty(404)


ROUTES = [
    Route("/", home),
    Route("/system_stats", get_system_stats),
    Route("/internal/logs/raw", get_logs),
    Route("/object_info", get_object_info),
    Route("/object_info/{class_type}", get_object_info),
    Route("/models", get_models),
    Route("/models/{folder}", get_models),
]
