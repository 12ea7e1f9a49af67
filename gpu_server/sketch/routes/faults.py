"""`/sketch/faults`: arm and clear faults. Only served with `--faults`."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpu_server.sketch.engine import Engine
from gpu_server.sketch.faults import NAMES, FaultRequest
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
    strike = _SUDDEN.get(fault.fault)
    if strike is None:
        engine_of(request).faults.arm(fault)
        return empty()
    # Strike after the answer, so that the caller gets one.
    return Response(background=BackgroundTask(_in_event_loop, strike, request, fault))


async def delete_faults(request: Request) -> Response:
    engine = engine_of(request)
    engine.faults.clear()
    engine.sockets.release()
    return empty()


async def _in_event_loop(
    strike: Callable[[Request, FaultRequest], None], request: Request, fault: FaultRequest
) -> None:
    strike(request, fault)


def _mute(request: Request, _: FaultRequest) -> None:
    engine_of(request).sockets.mute()


def _half_open(request: Request, _: FaultRequest) -> None:
    sockets = engine_of(request).sockets
    connections.stall_all(request, sockets.open)
    sockets.mute()


def _drop(request: Request, _: FaultRequest) -> None:
    connections.cut_all(request, engine_of(request).sockets.open)


def _hold_up(request: Request, fault: FaultRequest) -> None:
    engine_of(request).sockets.hold(fault.duration)


def _broadcast_oddities(request: Request, _: FaultRequest) -> None:
    oddities: list[Any] = [[1, 2], "text", 3, None, {"prompt_id": []}]
    for data in oddities:
        engine_of(request).sockets.send("monitor.status", data, None)


def _freeze(request: Request, fault: FaultRequest) -> None:
    engine = engine_of(request)
    engine.faults.arm(fault)  # holds the worker
    asyncio.get_running_loop().call_later(0.02, _block, engine, fault.duration)


def _block(engine: Engine, seconds: float) -> None:
    time.sleep(seconds)  # blocks the event loop on purpose: the whole server stands still
    engine.faults.disarm("frozen")


def _restart(request: Request, fault: FaultRequest) -> None:
    engine = engine_of(request)
    connections.cut_all(request, engine.sockets.open)
    engine.restart(fault.duration)


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
