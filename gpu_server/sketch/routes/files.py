"""Routes to upload and view images, confined to the engine's folders."""

import email.utils
import hashlib
import io
import mimetypes
from pathlib import Path

import anyio.to_thread
from PIL import Image
from starlette.datastructures import FormData, QueryParams, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gpu_server.sketch.folders import KINDS, Folders, split_annotation
from gpu_server.sketch.routes.replies import RefusedError, TooLargeError, engine_of, json_reply
from gpu_server.sketch.sockets import MAX_UPLOAD_BYTES

_ACTIVE_TYPES = {
    "text/html",
    "text/html-sandboxed",
    "application/xhtml+xml",
    "text/javascript",
    "text/css",
}


async def upload_image(request: Request) -> Response:
    if int(request.headers.get("content-length", "0")) > MAX_UPLOAD_BYTES:
        async for _ in request.stream():
            pass
        raise TooLargeError
    if "form" not in request.headers.get("content-type", ""):
        raise RefusedError(400)
    try:
        async with request.form(max_part_size=MAX_UPLOAD_BYTES) as form:
            return await _receive(engine_of(request).folders, form)
    except HTTPException as error:
        raise ValueError("truncated or malformed form") from error


async def _receive(folders: Folders, form: FormData) -> Response:
    upload = form.get("image")
    if not isinstance(upload, UploadFile):
        raise RefusedError(400)
    kind, subfolder = str(form.get("type", "input")), str(form.get("subfolder", ""))
    name = upload.filename or ""
    if kind not in KINDS or name in ("", ".") or name.startswith("/"):
        raise ValueError(f"{kind}, {name}")  # answered with 500, as recorded
    folder = folders.inside(kind, subfolder)
    if folder is None or folders.inside(kind, str(folder / name)) in (None, folders[kind]):
        raise RefusedError(400)
    data = await upload.read()
    overwrite = form.get("overwrite") in ("true", "1")
    folder.mkdir(parents=True, exist_ok=True)
    name = await anyio.to_thread.run_sync(_store, folder, name, data, overwrite)
    return json_reply({"name": name, "subfolder": subfolder, "type": kind})


def _store(folder: Path, name: str, data: bytes, overwrite: bool) -> str:
    """Write a file and return its name, a different one if other bytes already have the name."""
    path = folder / name
    number = 1
    while not overwrite and path.exists():
        if hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(data).digest():
            return path.name
        path = folder / f"{Path(name).stem} ({number}){Path(name).suffix}"
        number += 1
    path.write_bytes(data)
    return path.name if overwrite or number > 1 else name


async def view(request: Request) -> Response:
    query = request.query_params
    path = _viewed(engine_of(request).folders, query)
    try:
        data, etag, modified = await anyio.to_thread.run_sync(_read, path)
    except (OSError, ValueError) as error:  # missing, or not a possible name
        raise RefusedError(404) from error
    headers = {"content-disposition": f'filename="{path.name}"'}
    if "preview" in query:
        return await anyio.to_thread.run_sync(_preview, data, query["preview"], headers)
    if query.get("channel") in ("rgb", "a"):
        return await anyio.to_thread.run_sync(_channel, data, query["channel"], headers)
    guessed = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    headers["content-type"] = "application/octet-stream" if guessed in _ACTIVE_TYPES else guessed
    headers |= {"etag": etag, "last-modified": email.utils.formatdate(modified, usegmt=True)}
    return _conditional(request, data, headers, int(modified))


def _viewed(folders: Folders, query: QueryParams) -> Path:
    if "filename" not in query:
        raise RefusedError(404)
    name, kind = split_annotation(query["filename"], query.get("type", "output"))
    if not name or name.startswith("/") or ".." in name or kind not in KINDS:
        raise RefusedError(400)
    folder = folders.inside(kind, query.get("subfolder", ""))
    if folder is None:
        raise RefusedError(403)
    return folder / Path(name).name


def _read(path: Path) -> tuple[bytes, str, float]:
    with path.open("rb") as file:
        data = file.read()
    stat = path.stat()
    return data, f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"', stat.st_mtime


def _conditional(request: Request, data: bytes, headers: dict[str, str], modified: int) -> Response:
    matches = request.headers.get("if-none-match")
    since = request.headers.get("if-modified-since")
    if matches is not None:
        unchanged = headers["etag"] in matches or matches.strip() == "*"
    else:
        unchanged = since is not None and modified <= _http_date(since)
    if unchanged:
        return Response(status_code=304, headers=headers)
    headers["accept-ranges"] = "bytes"
    requested = request.headers.get("range")
    if requested is None:
        return Response(data, headers=headers)
    span = _span(requested, len(data))
    if span is None:
        return Response(status_code=416, headers={"content-range": f"bytes */{len(data)}"})
    start, end = span
    headers["content-range"] = f"bytes {start}-{end - 1}/{len(data)}"
    return Response(data[start:end], 206, headers)


def _http_date(value: str) -> float:
    try:
        return email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return 0.0


def _span(value: str, size: int) -> tuple[int, int] | None:
    """Parse a single byte range into start and end (exclusive); None if unsatisfiable."""
    first, dash, last = value.removeprefix("bytes=").partition("-")
    if not dash or not (first + last).isdecimal():
        return None
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    return (start, end) if start < end else None


def _preview(data: bytes, options: str, headers: dict[str, str]) -> Response:
    requested, _, quality = options.partition(";")
    encoding = requested if requested in ("webp", "jpeg") else "webp"
    level = int(quality) if quality.isdecimal() else 90
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        converted = image.convert("RGB" if encoding == "jpeg" else image.mode)
        converted.save(buffer, encoding, quality=level)
    return Response(buffer.getvalue(), media_type=f"image/{encoding}", headers=headers)


def _channel(data: bytes, channel: str, headers: dict[str, str]) -> Response:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        if channel == "rgb":
            image.convert("RGB").save(buffer, "PNG")
        else:
            alpha = image.convert("RGBA").getchannel("A")
            Image.merge("RGBA", [Image.new("L", image.size)] * 3 + [alpha]).save(buffer, "PNG")
    return Response(buffer.getvalue(), media_type="image/png", headers=headers)


ROUTES = [
    Route("/upload/image", upload_image, methods=["POST"]),
    Route("/view", view),
]
