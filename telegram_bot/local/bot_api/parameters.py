"""The parameters of a Bot API call, sent as a query, a form, JSON or multipart."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import Json
from telegram_bot.local.state.world import World


@dataclass(frozen=True)
class Upload:
    name: str
    data: bytes


@dataclass(frozen=True)
class Params:
    """Typed access to the parameters; each getter raises `BadRequest` for a wrong value."""

    values: dict[str, Any]
    uploads: dict[str, Upload]

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if value is None:
            return ""
        return value if isinstance(value, str) else json.dumps(value)

    def integer(self, name: str, default: int = 0) -> int:
        value = self.values.get(name)
        if value in (None, ""):
            return default
        try:
            return int(value)
        except (TypeError, ValueError):
            raise BadRequest(f'invalid parameter "{name}" specified') from None

    def boolean(self, name: str) -> bool:
        return str(self.values.get(name)).lower() in ("true", "yes", "1")

    def json(self, name: str, what: str) -> Any:
        """Read a JSON-serialised member, None when left out; `what` names it in the refusal."""
        value = self.values.get(name)
        if value in (None, ""):
            return None
        if not isinstance(value, str):
            return value
        try:
            return _parse(value)
        except ValueError:
            raise BadRequest(f"can't parse {what} JSON object") from None

    def array(self, name: str, what: str, of: str) -> list[Any] | None:
        value = self.json(name, what)
        if value is not None and not isinstance(value, list):
            raise BadRequest(f"expected an Array of {of}")
        return value

    def summary(self) -> Json:
        """Return what the inspector shows: the values, and files by name and size."""
        values = {k: _readable(v) for k, v in self.values.items()}
        return values | {k: f"<{u.name}, {len(u.data)} bytes>" for k, u in self.uploads.items()}


Method = Callable[[World, Params], Awaitable[Any]]
"""A Bot API method: takes the world and the parameters, returns "result", raises `ApiError`."""


async def read_params(request: Request) -> Params:
    """Read query and body. Raises BadRequest when the body is malformed."""
    values: dict[str, Any] = dict(request.query_params)
    uploads: dict[str, Upload] = {}
    if request.method == "GET":
        return Params(values, uploads)
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type == "application/json":
        values |= await _read_json(request)
    elif media_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
        await _read_form(request, values, uploads)
    return Params(values, uploads)


async def _read_json(request: Request) -> Json:
    try:
        body = _parse(await request.body())
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise BadRequest("can't parse request body as JSON object")
    return body


async def _read_form(request: Request, values: Json, uploads: dict[str, Upload]) -> None:
    try:
        async with request.form() as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    uploads[name] = Upload(value.filename or "file", await value.read())
                else:
                    values[name] = value
    except HTTPException as error:
        raise BadRequest(f"can't parse request body: {error.detail}") from None


def _parse(source: str | bytes) -> Any:
    """Parse JSON; raise `ValueError` also for lone surrogates, which are not Unicode."""
    value = json.loads(source)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _readable(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        return _parse(value)
    except ValueError:
        return value
