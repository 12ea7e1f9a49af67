"""`/sketch/faults`: arm and clear faults. Only served with `--faults`."""

import asyncio
import time
from typing import Any

from pydantic import ValidationError
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpu_server.sketch.engine import Engine
from gpu_server.sketch.faults import NAMES, SUDDEN, FaultRequest
from gpu_server.sketch.routes import connections
from gpu_server.sketch.routes.replies import body, empty, engine_of, json_reply


async def get_faults(request: Request) -> Response:
    return json_reply({"armed": engine_of(request).faults.describe(), "known": NAMES})


async def post_fault(request: Request) -> Response:
    try:
        fault = FaultRequest.model_validate_json(await body(request))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        return json_reply({"errors": details, "known": NAMES}, 422)
    if fault.fault not in SUDDEN:
        engine_of(request).faults.arm(fault)
        return empty()
    # Strike after the answer, so that the caller gets one.
    return Response(background=BackgroundTask(_strike, engine_of(request), fault))


async def delete_faults(request: Request) -> Response:
    engine = engine_of(request)
    engine.faults.clear()
    engine.sockets.release()
    return empty()


async def _strike(engine: Engine, fault: FaultRequest) -> None:
    sockets = engine.sockets
    match fault.fault:
        case "mute":
            sockets.mute()
        case "half_open":
            connections.stall(sockets.open)
            sockets.mute()
        case "drop_socket":
            connections.cut(sockets.open)
        case "held_up":
            sockets.hold(fault.duration)
        case "odd_frames":
            oddities: list[Any] = [[1, 2], "text", 3, None, {"prompt_id": []}]
            for data in oddities:
                sockets.send("monitor.status", data, None)
        case "frozen":
            engine.faults.arm(fault)  # holds the worker
            asyncio.get_running_loop().call_later(0.02, _block, engine, fault.duration)
        case "restart":
            connections.cut(sockets.open)
            engine.restart(fault.duration)


def _block(engine: Engine, seconds: float) -> None:
    time.sleep(seconds)  # blocks the event loop on purpose: the whole server stands still
    engine.faults.disarm("frozen")


ROUTES = [
    Route("/sketch/faults", get_faults),
    Route("/sketch/faults", post_fault, methods=["POST"]),
    Route("/sketch/faults", delete_faults, methods=["DELETE"]),
]
