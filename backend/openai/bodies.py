"""The bodies of the Images API: read, validated and documented."""

import json
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from backend.openai.translation import ImageRequest
from gpu_server.pictures import uploads
from web import edge, errors


async def _read_json(request: Request) -> ImageRequest:
    try:
        fields = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise errors.InvalidRequest("The body is not valid JSON") from error
    return _validated(fields)


async def _read_form(request: Request) -> tuple[ImageRequest, bytes]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "multipart/form-data":
        raise errors.InvalidRequest("The body must be multipart/form-data")
    async with request.form(max_files=16, max_fields=40, max_part_size=100_000) as form:
        if "mask" in form:
            raise errors.InvalidRequest("mask: is not supported; leave it out")
        files = [f for key in ("image", "image[]") for f in form.getlist(key)]
        if len(files) != 1 or not isinstance(files[0], UploadFile):
            raise errors.InvalidRequest(f"image: exactly one file is needed, {len(files)} came")
        fields = {key: value for key, value in form.items() if isinstance(value, str)}
        return _validated(fields), uploads.check_bytes(await files[0].read())


def _validated(fields: Any) -> ImageRequest:
    try:
        return ImageRequest.model_validate(fields)
    except ValidationError as error:
        raise edge.invalid_request(error) from error


GenerationBody = Annotated[ImageRequest, Depends(_read_json)]
EditBody = Annotated[tuple[ImageRequest, bytes], Depends(_read_form)]


def documented(media_type: str, *, with_image: bool = False) -> dict[str, Any]:
    """Return `openapi_extra` of a route that reads such a body."""
    schema = ImageRequest.model_json_schema()
    if with_image:
        schema["properties"]["image"] = {"type": "string", "format": "binary"}
        schema["required"] = ["image"]
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}
