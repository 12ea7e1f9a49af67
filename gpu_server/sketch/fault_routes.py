"""`/sketch/faults`: arms and clears faults; there only with `--faults`."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpu_server.sketch import connections
from gpu_server.sketch.engine import Engine
from gpu_server.sketch.faults import NAMES, FaultRequest
from gpu_server.sketch.replies import body, empty, json_reply


async def get_faults(request: Request) -> Response:
    engine: Engine = request.app.state.engine
    return json_reply({"armed": engine.faults.describe(), "known": NAMES})


async def post_fault(request: Request) -> Response:
    engine: Engine = request.app.state.engine
    try:
        fault = FaultRequest.model_validate_json(await body(request))
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        return json_reply({"errors": details, "known": NAMES}, 422)
    sudden = _SUDDEN.get(fault.fault)
    if sudden is None:
        engine.faults.arm(fault)
        return empty()
    # After the answer, so that whoever asked for the fault gets one.
    return Response(background=BackgroundTask(_strike, sudden, request, fault))


async def _strike(
    sudden: Callable[[Request, FaultRequest], None], request: Request, fault: FaultRequest
) -> None:
    sudden(request, fault)


def _mute(request: Request, _: FaultRequest) -> None:
    engine: Engine = request.app.state.engine
    engine.sockets.mute()


def _half_open(request: Request, _: FaultRequest) -> None:
    engine: Engine = request.app.state.engine
    connections.stall_all(request, engine.sockets.open)
    engine.sockets.mute()


def _drop(request: Request, _: FaultRequest) -> None:
    engine: Engine = request.app.state.engine
    connections.cut_all(request, engine.sockets.open)


def _hold_up(request: Request, fault: FaultRequest) -> None:
    engine: Engine = request.app.state.engine
    engine.sockets.hold(fault.duration)


def _broadcast_oddities(request: Request, _: FaultRequest) -> None:
    engine: Engine = request.app.state.engine
    oddities: list[Any] = [[1, 2], "text", 3, None, {"prompt_id": []}]
    for data in oddities:
        engine.sockets.send("monitor.status", data, None)


def _freeze(request: Request, fault: FaultRequest) -> None:
    engine: Engine = request.app.state.engine
    engine.faults.arm(fault)  # holds the worker
    asyncio.get_running_loop().call_later(0.02, _block, engine, fault.duration)


def _block(engine: Engine, seconds: float) -> None:
    time.sleep(seconds)  # on purpose in the event loop: the whole server stands still
    engine.faults.disarm("frozen")


def _restart(request: Request, fault: FaultRequest) -> None:
    engine: Engine = request.app.state.engine
    connections.cut_all(request, engine.sockets.open)
    engine.restart(fault.duration)


async def delete_faults(request: Request) -> Response:
    engine: Engine = request.app.state.engine
    engine.faults.clear()
    engine.sockets.release()
    return empty()


_SUDDEN: dict[str, Callable[[Request, FaultRequest], None]] = {
    "mute": _mute,
    "half_open": _half_open,
    "drop_socket": _drop,
    "held_up": _hold_up,
    "odd_frames": _broadcast_oddities,
    "frozen": _freeze,
    "restart": _restart,
}

ROUTES = [
    Route("/sketch/faults", get_faults),
    Route("/sketch/faults", post_fault, methods=["POST"]),
    Route("/sketch/faults", delete_faults, methods=["DELETE"]),
]
