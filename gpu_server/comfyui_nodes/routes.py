"""Routes that Easel adds to ComfyUI's server, for the GPU server."""

import asyncio
from pathlib import Path
from uuid import uuid4

import folder_paths
from aiohttp import web

from .jobs import is_job_id, remove_job
from .worker import Worker

_FOLDERS = ("input", "output", "temp")


def add_routes(routes: web.RouteTableDef) -> None:
    """Add `GET /easel` (identity) and `DELETE /easel/jobs/{job},{job},…` (remove jobs' files).

    `boot_id` changes with every start; `output` is for clients on the same disk; `worker_alive` is
    null until the worker thread was seen.
    """
    worker = Worker()
    identity = {
        "version": 1,
        "boot_id": str(uuid4()),
        "engine": "comfyui",
        "output": str(Path(folder_paths.get_output_directory()).absolute()),
    }

    async def identify(_: web.Request) -> web.Response:
        return web.json_response({**identity, "worker_alive": worker.is_alive()})

    routes.get("/easel")(identify)
    routes.delete("/easel/jobs/{jobs}")(_delete_job)


async def _delete_job(request: web.Request) -> web.Response:
    jobs = request.match_info["jobs"].split(",")
    if not all(is_job_id(job) for job in jobs):
        message = "a job id must be a UUID in canonical form: 36 characters, lower case"
        return web.json_response(
            {"error": {"type": "invalid_job_id", "message": message}}, status=400
        )
    directories = [Path(folder_paths.get_directory_by_type(name)) for name in _FOLDERS]
    removed = await asyncio.to_thread(lambda: sum(remove_job(job, directories) for job in jobs))
    return web.json_response({"removed": removed})
