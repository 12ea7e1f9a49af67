"""The mode of a job that was accepted before a restart. Pure."""

from gpu_server.schemas import JobRequest
from web.errors import InvalidRequest
from workflows import parameters
from workflows.catalog import Catalog, Mode
from workflows.parameters import InvalidValues


def fitting_mode(catalog: Catalog, request: JobRequest) -> Mode:
    """Return the mode of a recorded request, if the request can still be drawn with it.

    Raises InvalidRequest if its mode or style is out of service now, or has changed too much.
    """
    mode = catalog.modes.get(request.mode)
    where = f"The style '{request.style}' of '{request.mode}'"
    if mode is None or request.style not in mode.styles:
        raise InvalidRequest(f"{where} is out of service now")
    needed = [name for name, photo in mode.photos.items() if photo.required]
    try:
        parameters.complete(request, catalog, photos=needed)
    except InvalidValues as error:
        raise InvalidRequest(f"{where} was changed after this was accepted: {error}") from error
    return mode
