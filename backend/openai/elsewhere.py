"""Addresses of OpenAI's API that are not here, each with what to use instead."""

from fastapi import APIRouter, Request, Response

from web import errors

_USE = (
    "use POST /v1/images/generations, /v1/images/edits with a photo, or /v1/chat/completions; "
    "GET /v1/models lists the models"
)
_NOT_HERE = {
    "/v1/responses": "Easel draws pictures and has no Responses API",
    "/v1/completions": "Easel draws pictures and writes no text",
    "/v1/embeddings": "Easel draws pictures and has no embeddings",
    "/v1/audio": "Easel draws pictures and makes no sound",
    "/v1/videos": "Easel draws pictures and makes no films",
    "/v1/moderations": "Easel judges only what it draws",
    "/v1/images/variations": "Easel draws no variations",
}
_WITHOUT_VERSION = ("images", "chat", "responses", "completions", "models", "openai")
"""Where the paths begin that clients call when their base URL lacks `/v1`; Azure's is `openai`."""

router = APIRouter(include_in_schema=False)


def is_known(path: str) -> bool:
    return path.split("/")[1] in _WITHOUT_VERSION


async def tell_instead(request: Request) -> Response:
    path = request.url.path
    told = next(text for known, text in _NOT_HERE.items() if path.startswith(known))
    raise errors.NotFound(f"{told}; {_USE}")


async def tell_base_url(request: Request) -> Response:
    base = f"{request.base_url}v1"
    azure = request.url.path.startswith("/openai/")
    what = "This is not Azure's API: use OpenAI's client with a base URL that ends" if azure else ""
    raise errors.NotFound(f"{what or 'The base URL must end'} in /v1, as {base} does; {_USE}")


for _path in _NOT_HERE:
    router.add_api_route(_path, tell_instead, methods=["GET", "POST"])
    router.add_api_route(f"{_path}/{{rest:path}}", tell_instead, methods=["GET", "POST"])
for _segment in _WITHOUT_VERSION:
    router.add_api_route(f"/{_segment}", tell_base_url, methods=["GET", "POST"])
    router.add_api_route(f"/{_segment}/{{rest:path}}", tell_base_url, methods=["GET", "POST"])
