"""The parameters of a Bot API call, however they came: query, form, JSON or multipart."""

import json
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from telegram_bot.local.errors import ApiError, BadRequestError
from telegram_bot.local.formatting.entities import Json

MAX_BODY_BYTES = 110 * 1024 * 1024


@dataclass(frozen=True)
class Upload:
    name: str
    data: bytes


@dataclass(frozen=True)
class Params:
    """Typed access to what was sent; each getter raises `BadRequestError` for a wrong value."""

    values: dict[str, Any]
    uploads: dict[str, Upload]

    def has(self, name: str) -> bool:
        return self.values.get(name) not in (None, "") or name in self.uploads

    def text(self, name: str, default: str = "") -> str:
        value = self.values.get(name)
        if value is None:
            return default
        return value if isinstance(value, str) else json.dumps(value)

    def integer(self, name: str, default: int = 0) -> int:
        value = self.values.get(name)
        if value in (None, ""):
            return default
        try:
            return int(value)
        except (TypeError, ValueError):
            raise BadRequestError(f'invalid parameter "{name}" specified') from None

    def boolean(self, name: str) -> bool:
        value = self.values.get(name)
        return value is True or str(value).lower() in ("true", "yes", "1")

    def json(self, name: str, what: str) -> Any:
        """A JSON-serialised member; None when left out; `what` names it in the refusal."""
        value = self.values.get(name)
        if value in (None, ""):
            return None
        if not isinstance(value, str):
            return value
        try:
            return checked(json.loads(value))
        except ValueError:
            raise BadRequestError(f"can't parse {what} JSON object") from None

    def array(self, name: str, what: str, of: str) -> list[Any] | None:
        value = self.json(name, what)
        if value is not None and not isinstance(value, list):
            raise BadRequestError(f"expected an Array of {of}")
        return value

    def summary(self) -> Json:
        """What the inspector shows: values as sent, files by name and size."""
        shown = {k: _shown(v) for k, v in self.values.items()}
        return shown | {k: f"<{u.name}, {len(u.data)} bytes>" for k, u in self.uploads.items()}


def checked(value: Any) -> Any:
    """The same JSON value; raises `ValueError` for text that is not Unicode (lone surrogates)."""
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _shown(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        return checked(json.loads(value))
    except ValueError:
        return value


async def read_params(request: Request) -> Params:
    """Reads query and body; raises `ApiError` 413 beyond `MAX_BODY_BYTES`."""
    values: dict[str, Any] = dict(request.query_params)
    uploads: dict[str, Upload] = {}
    if request.method == "GET":
        return Params(values, uploads)
    if int(request.headers.get("content-length") or 0) > MAX_BODY_BYTES:
        raise ApiError(413, "Request Entity Too Large")
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type == "application/json":
        values |= await _json_body(request)
    elif media_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
        await _form_body(request, values, uploads)
    return Params(values, uploads)


async def _form_body(request: Request, values: Json, uploads: dict[str, Upload]) -> None:
    try:
        async with request.form(max_part_size=MAX_BODY_BYTES) as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    uploads[name] = Upload(value.filename or "file", await value.read())
                else:
                    values[name] = value
    except HTTPException as error:
        raise BadRequestError(f"can't parse request body: {error.detail}") from None


async def _json_body(request: Request) -> Json:
    try:
        body = checked(await request.json())
    except ValueError:
        raise BadRequestError("can't parse request body as JSON object") from None
    if not isinstance(body, dict):
        raise BadRequestError("can't parse request body as JSON object")
    return body
