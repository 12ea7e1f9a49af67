"""The Bot API over HTTP: `/bot<token>/<method>` and `/file/bot<token>/<path>`."""

import asyncio
import re
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from telegram_bot.local.bot_api import editing, profile, receiving, sending
from telegram_bot.local.bot_api.method import Method
from telegram_bot.local.bot_api.parameters import Params, read_params
from telegram_bot.local.errors import (
    ApiError,
    BadRequestError,
    ForbiddenError,
    TooManyRequestsError,
)
from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.faults import Fault
from telegram_bot.local.state.world import World

METHODS: dict[str, Method] = {
    **sending.METHODS,
    **editing.METHODS,
    **receiving.METHODS,
    **profile.METHODS,
}
_BY_LOWER_NAME = {name.lower(): (name, method) for name, method in METHODS.items()}
_TOKEN = re.compile(r"([1-9][0-9]{0,17}):[A-Za-z0-9_-]{3,60}")
_MAX_SILENCE_S = 120
_MAX_SHOWN = 600
_SENDS = ("sendMessage", "sendPhoto", "sendDocument", "sendMediaGroup")


@dataclass(frozen=True)
class BotApi:
    """Serves every method to a bot with any token of valid form (`123:abc`)."""

    world: World

    def routes(self) -> list[Route]:
        methods = ["GET", "POST"]
        return [
            Route("/file/bot{token}/{path:path}", self.download, methods=["GET"]),
            Route("/bot{token}/{method}", self.call, methods=methods),
            Route("/bot{token}", self.call, methods=methods),
        ]

    def _recognise(self, token: str) -> None:
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise ApiError(401, "Unauthorized: invalid token specified")
        self.world.bot.id = int(match.group(1))

    async def download(self, request: Request) -> Response:
        try:
            self._recognise(request.path_params["token"])
        except ApiError as error:
            return _refused(error)
        file = self.world.files.at(request.path_params["path"])
        if file is None:
            return _refused(ApiError(404, "Not Found"))
        return Response(file.data, media_type="application/octet-stream")

    async def call(self, request: Request) -> Response:
        try:
            self._recognise(request.path_params["token"])
            name, method = _method(request.path_params.get("method", ""))
            params = await read_params(request)
        except ApiError as error:
            return _refused(error)
        started = time.perf_counter()
        fault = self.world.faults.take(name, _chat_id(params))
        response, shown = await self._answer(name, method, params, fault)
        if not (name == "getUpdates" and shown == []):
            self._note(
                {
                    "method": name,
                    "request": _short(params.summary()),
                    "status": response.status_code,
                    "response": _short(shown),
                    "ms": round((time.perf_counter() - started) * 1000, 1),
                    "fault": fault.fault if fault else None,
                }
            )
        if fault and fault.fault == "timeout":
            await _silence(request)
        return response

    async def _answer(
        self, name: str, method: Method, params: Params, fault: Fault | None
    ) -> tuple[Response, Any]:
        """The response, and what of it the inspector shows."""
        try:
            if fault:
                await _strike(fault)
            self._limit(name, params)
            result = await method(self.world, params)
        except _BadGatewayError as bad:
            return HTMLResponse(bad.page, 502), bad.page
        except ApiError as error:
            return _refused(error), error.description
        return JSONResponse({"ok": True, "result": result}), result

    def _limit(self, name: str, params: Params) -> None:
        chat_id = _chat_id(params)
        if self.world.flood is None or chat_id not in self.world.chats or name not in _SENDS:
            return
        if wait := self.world.flood.retry_after(chat_id):
            raise TooManyRequestsError(wait)

    def _note(self, call: Json) -> None:
        call["at"] = time.time()
        self.world.calls.append(call)
        self.world.feed.tell("call", call=call)


class _BadGatewayError(Exception):
    page = (
        "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center>"
        "<h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )


def _method(name: str) -> tuple[str, Method]:
    found = _BY_LOWER_NAME.get(name.lower())
    if found is None:
        raise ApiError(404, "Not Found: method not found" if name else "Not Found")
    return found


def _chat_id(params: Params) -> int:
    """The chat a call is for; 0 for none."""
    try:
        return params.integer("chat_id")
    except BadRequestError:
        return 0


async def _strike(fault: Fault) -> None:
    """What happens before the call is done; "timeout" strikes after it."""
    match fault.fault:
        case "429":
            raise TooManyRequestsError(fault.seconds)
        case "502":
            raise _BadGatewayError
        case "photo_refused":
            raise BadRequestError("PHOTO_INVALID_DIMENSIONS")
        case "401":
            raise ApiError(401, "Unauthorized")
        case "403":
            raise ForbiddenError
        case "slow":
            await asyncio.sleep(fault.seconds)


async def _silence(request: Request) -> None:
    """Keeps the caller waiting until it gives up."""
    try:
        async with asyncio.timeout(_MAX_SILENCE_S):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


def _refused(error: ApiError) -> JSONResponse:
    body: Json = {
        "ok": False,
        "error_code": error.status,
        "description": error.description or HTTPStatus(error.status).phrase,
    }
    headers = {}
    if error.retry_after is not None:
        body["parameters"] = {"retry_after": error.retry_after}
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse(body, error.status, headers)


def _short(value: Any) -> Any:
    """The same with long texts cut, so that the inspector stays small."""
    if isinstance(value, str) and len(value) > _MAX_SHOWN:
        return f"{value[:_MAX_SHOWN]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_short(v) for v in value[:50]]
    return value
