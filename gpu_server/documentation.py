"""What the API's document and front page say."""

from gpu_server.pictures.formats import MEDIA_TYPES
from gpu_server.schemas import Job, Preview, ProgressEvent, Result
from web import errors, sse
from web.api.document import Responses, binary, events
from web.content import UnsupportedMediaType

ADDRESSES = {
    "/docs": "the API, to read and to try",
    "/openapi.json": "the same for programs that generate a client",
    "/modes": "what can be drawn, and whether right now",
    "/health": "how this pod is",
}
"""What the front page names."""
TAGS = {
    "jobs": "Draw, follow, fetch images, cancel.",
    "pod": "What this pod can do, and how it is.",
}
OPEN = errors.documented(errors.ForeignRequest)
CLOSED = errors.documented(errors.Unauthorized, errors.ForeignRequest)
NOT_FOUND = errors.documented(errors.NotFound)
REQUEST_ERRORS = errors.documented(*errors.REQUEST_ERRORS, UnsupportedMediaType)
OUTCOME_ERRORS = errors.documented(*errors.OUTCOME_ERRORS)
_OF_EVENT = "The data of an event. `state`, `result`: Job; `progress`; `preview`."
EVENTS = events("JobEvent", Job | ProgressEvent | Preview, _OF_EVENT)
STREAM: Responses = {200: {"content": EVENTS}, 204: {"description": sse.NOTHING_MORE}}
_OF_DRAWING = (
    "The data of an event. `state`: Job; `progress`; `preview`; `result`: Result, or Job with an "
    "error."
)
_DRAWING = Job | Result | ProgressEvent | Preview
DRAWN: Responses = {
    200: {"content": binary(MEDIA_TYPES) | events("DrawingEvent", _DRAWING, _OF_DRAWING)}
}
