"""The routes that Easel's own nodes add to ComfyUI (`gpu_server/comfyui_nodes`)."""

import uuid

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpu_server.sketch.routes.replies import engine_of, json_reply, text


async def get_easel(request: Request) -> Response:
    engine = engine_of(request)
    output = str(engine.folders["output"])
    return json_reply(
        {
            "version": 1,
            "boot_id": engine.boot_id,
            "engine": "sketch",
            "output": output,
            "worker_alive": engine.worker.runs_jobs,
        }
    )


async def delete_easel_job(request: Request) -> Response:
    jobs = request.path_params["job_ids"].lower().split(",")
    try:
        usual = [str(uuid.UUID(job)) for job in jobs]
    except ValueError:
        return text("The job id must be a UUID.", 400)
    if usual != jobs:
        return text("The job id must be a UUID in its usual form with hyphens.", 400)
    folders = engine_of(request).folders
    return json_reply({"removed": sum(folders.remove_job(job) for job in jobs)})


ROUTES = [
    Route("/easel", get_easel),
    Route("/easel/jobs/{job_ids}", delete_easel_job, methods=["DELETE"]),
]
