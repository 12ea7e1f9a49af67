"""Serve the Bot API over HTTP: `/bot<token>/<method>` and `/file/bot<token>/<path>`."""

import asyncio
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from telegram_bot.local.bot_api import messages, profile, receiving
from telegram_bot.local.bot_api.parameters import Method, Params, read_params
from telegram_bot.local.errors import ApiError, BadRequest, Forbidden, TooManyRequests
from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.faults import Fault
from telegram_bot.local.state.world import World
from web.edge import until_disconnected

METHODS: dict[str, Method] = messages.METHODS | receiving.METHODS | profile.METHODS
_BY_LOWER_NAME = {name.lower(): (name, method) for name, method in METHODS.items()}
_FLOOD_LIMITED = ("sendMessage", "sendPhoto", "sendDocument", "sendMediaGroup")
_TOKEN = re.compile(r"([1-9][0-9]{0,17}):[A-Za-z0-9_-]{3,60}")
_STALL_S = 120
"""How long the fault "timeout" holds an answer back."""
_MAX_LOGGED = 600
"""Length at which the inspector cuts a text."""
_BAD_GATEWAY_PAGE = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center>"
    "<h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


@dataclass(frozen=True)
class BotApi:
    """Serve every method to a bot with any well-formed token (`123:abc`)."""

    world: World

    def routes(self) -> list[Route]:
        return [
            Route("/file/bot{token}/{path:path}", self.download, methods=["GET"]),
            Route("/bot{token}/{method}", self.call, methods=["GET", "POST"]),
        ]

    async def download(self, request: Request) -> Response:
        try:
            self._authenticate(request)
        except ApiError as error:
            return _error_response(error)
        file = self.world.files.get(PurePath(request.path_params["path"]).stem)
        if file is None:
            return _error_response(ApiError(404, "Not Found"))
        return Response(file.data, media_type="application/octet-stream")

    async def call(self, request: Request) -> Response:
        try:
            self._authenticate(request)
            name, method = _find_method(request.path_params["method"])
            params = await read_params(request)
        except ApiError as error:
            return _error_response(error)
        started = time.perf_counter()
        fault = self.world.faults.take(name, _chat_id(params))
        response, result = await self._answer(name, method, params, fault)
        if name != "getUpdates" or result != []:
            call = {
                "method": name,
                "request": _truncate(params.summary()),
                "status": response.status_code,
                "response": _truncate(result),
                "ms": round((time.perf_counter() - started) * 1000, 1),
                "fault": fault.fault if fault else None,
                "at": time.time(),
            }
            self.world.calls.append(call)
            self.world.feed.publish("call", call=call)
        if fault and fault.fault == "timeout":
            with suppress(TimeoutError):
                async with asyncio.timeout(_STALL_S):
                    await until_disconnected(request)
        return response

    def _authenticate(self, request: Request) -> None:
        match = _TOKEN.fullmatch(request.path_params["token"])
        if match is None:
            raise ApiError(401, "Unauthorized: invalid token specified")
        self.world.bot.id = int(match.group(1))

    async def _answer(
        self, name: str, method: Method, params: Params, fault: Fault | None
    ) -> tuple[Response, Any]:
        """Return the response, and the part of it that the inspector shows."""
        if fault and fault.fault == "502":
            return HTMLResponse(_BAD_GATEWAY_PAGE, 502), _BAD_GATEWAY_PAGE
        try:
            if fault:
                await _apply(fault)
            self._limit(name, params)
            result = await method(self.world, params)
        except ApiError as error:
            return _error_response(error), error.description
        return JSONResponse({"ok": True, "result": result}), result

    def _limit(self, name: str, params: Params) -> None:
        flood, chat_id = self.world.flood, _chat_id(params)
        if flood is None or name not in _FLOOD_LIMITED:
            return
        if chat_id in self.world.directory.chats and (wait := flood.retry_after(chat_id)):
            raise TooManyRequests(wait)


def _find_method(name: str) -> tuple[str, Method]:
    entry = _BY_LOWER_NAME.get(name.lower())
    if entry is None:
        raise ApiError(404, "Not Found: method not found")
    return entry


def _chat_id(params: Params) -> int:
    """Return the chat of a call; 0 without one."""
    try:
        return params.integer("chat_id")
    except BadRequest:
        return 0


async def _apply(fault: Fault) -> None:
    """Apply a fault before the call is carried out; "timeout" comes after it."""
    match fault.fault:
        case "429":
            raise TooManyRequests(fault.seconds)
        case "photo_refused":
            raise BadRequest("PHOTO_INVALID_DIMENSIONS")
        case "muted":
            raise BadRequest("not enough rights to send text messages to the chat")
        case "no_media":
            raise BadRequest("not enough rights to send photos to the chat")
        case "401":
            raise ApiError(401, "Unauthorized")
        case "403":
            raise Forbidden
        case "slow":
            await asyncio.sleep(fault.seconds)


def _error_response(error: ApiError) -> JSONResponse:
    body: Json = {"ok": False, "error_code": error.status, "description": error.description}
    headers = {}
    if error.retry_after is not None:
        body["parameters"] = {"retry_after": error.retry_after}
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse(body, error.status, headers)


def _truncate(value: Any) -> Any:
    """Cut long texts and lists, so that the inspector stays small."""
    if isinstance(value, str) and len(value) > _MAX_LOGGED:
        return f"{value[:_MAX_LOGGED]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {k: _truncate(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_truncate(v) for v in value[:50]]
    return value
