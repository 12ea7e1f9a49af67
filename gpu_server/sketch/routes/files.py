"""Routes to upload and view images, confined to the engine's folders."""

import hashlib
import io
import mimetypes
from pathlib import Path
from stat import S_ISREG

import anyio.to_thread
from PIL import Image
from starlette.datastructures import FormData, QueryParams, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.staticfiles import NotModifiedResponse, StaticFiles

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
_UNKNOWN_TYPE = "application/octet-stream"
_CHUNK_BYTES = 8_000_000  # mostly a whole image: each chunk is read in another thread
_CONDITIONS = StaticFiles()


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
        stat = await anyio.to_thread.run_sync(path.stat)
    except (OSError, ValueError) as error:  # missing, or not a possible name
        raise RefusedError(404) from error
    if not S_ISREG(stat.st_mode):
        raise RefusedError(404)
    headers = {"content-disposition": f'filename="{path.name}"'}
    if "preview" in query:
        return await anyio.to_thread.run_sync(_preview, path, query["preview"], headers)
    guessed = mimetypes.guess_type(path.name)[0]
    media_type = _UNKNOWN_TYPE if guessed in _ACTIVE_TYPES else guessed
    response = FileResponse(path, 200, headers, media_type or _UNKNOWN_TYPE, stat_result=stat)
    response.chunk_size = _CHUNK_BYTES
    if _CONDITIONS.is_not_modified(response.headers, request.headers):
        return NotModifiedResponse(response.headers)
    return response


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


def _preview(path: Path, options: str, headers: dict[str, str]) -> Response:
    requested, _, quality = options.partition(";")
    encoding = requested if requested in ("webp", "jpeg") else "webp"
    level = int(quality) if quality.isdecimal() else 90
    buffer = io.BytesIO()
    with Image.open(path) as image:
        converted = image.convert("RGB" if encoding == "jpeg" else image.mode)
        converted.save(buffer, encoding, quality=level)
    return Response(buffer.getvalue(), media_type=f"image/{encoding}", headers=headers)


ROUTES = [
    Route("/upload/image", upload_image, methods=["POST"]),
    Route("/view", view),
]
