"""What the API's document and front page say."""

from backend.routes.images import ANY_FILE, PreconditionFailed
from backend.schemas import Generation, Preview, ProgressEvent
from gpu_server.pictures.formats import MEDIA_TYPES
from gpu_server.schemas import Result
from web import errors, sse
from web.api.document import Responses, binary, events

ADDRESSES = {
    "/docs": "the API, to read and to try",
    "/openapi.json": "the same for programs that generate a client",
    "/v1/models": "models for OpenAI's clients, whose base URL is this server's with /v1",
    "/modes": "what can be drawn, and whether right now",
    "/health": "how the platform is",
}
"""What the front page names."""
TAGS = {
    "generations": "Draw, follow, fetch images, cancel, delete.",
    "OpenAI": "OpenAI's Images API and its chats, for the clients that exist, with its errors.",
    "platform": "What can be drawn, and how the platform is.",
}
WAITING = """\
Hanging up cancels the generation. So does a proxy with a time limit on requests (often 60 to
100 s). Behind one, use `PUT /generations/{id}` under an id of your own, then its `/events` (resumed
with `Last-Event-ID` after a cut) or `GET /generations/{id}`. Or send an `Idempotency-Key`: then the
generation goes on, and the same request under the same key waits for the same pictures.

A user with as many unfinished generations as one may have waits for their turn here; the other ways
to begin a generation refuse it then (`rate_limited`)."""
TAKES_KEY = "Repeating a request under the same `Idempotency-Key` gives the same generation."
_TEXT_HEADER = {"schema": {"type": "string"}}
_LOCATION = {"Location": {"description": "the generation's address", **_TEXT_HEADER}}
ACCEPTED: Responses = {
    200: {"model": Generation, "description": "Known already", "headers": _LOCATION},
    202: {"description": "In line", "headers": _LOCATION},
}
_OF_EVENT = "The data of an event. `state`, `result`: Generation; `progress`; `preview`."
STREAM: Responses = {
    200: {"content": events("GenerationEvent", Generation | ProgressEvent | Preview, _OF_EVENT)},
    204: {"description": sse.NOTHING_MORE},
}
_OF_DRAWING = (
    "The data of an event. `state`: Generation; `progress`; `preview`; `result`: Result, or "
    "Generation with an error."
)
_DRAWING = Generation | Result | ProgressEvent | Preview
DRAWN: Responses = {
    200: {"content": binary(MEDIA_TYPES) | events("DrawingEvent", _DRAWING, _OF_DRAWING)}
}
_IMAGE: Responses = {
    200: {
        "content": binary([*MEDIA_TYPES, ANY_FILE]),
        "headers": {"ETag": _TEXT_HEADER, "X-Seed": _TEXT_HEADER, "X-Generation-ID": _TEXT_HEADER},
    },
    206: {"content": binary([*MEDIA_TYPES, ANY_FILE]), "headers": {"Content-Range": _TEXT_HEADER}},
    304: {"description": "The client has this image already"},
    416: {"description": "The image ends before this range"},
}
IMAGE = _IMAGE | errors.documented(PreconditionFailed)
