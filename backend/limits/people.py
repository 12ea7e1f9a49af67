"""Who the person of a request is, for the limits: every route that accepts a generation asks here.

A program with a key speaks for all its people and names them, in the body (`user`, OpenAI's
`safety_identifier`) or in the header set by `BACKEND_USER_HEADER`. The header goes first: a front
end adds it to what people write themselves, so that they cannot claim another name.
"""

import re
from dataclasses import dataclass
from typing import TypeVar

from starlette.datastructures import Headers

from backend.schemas import USER_CHARACTERS, USER_LENGTH, GenerationRequest
from web.errors import FieldError, InvalidRequest

R = TypeVar("R", bound=GenerationRequest)
_ALLOWED = f"one name of at most {USER_LENGTH} characters, none of them a control character"


@dataclass(frozen=True)
class People:
    """Reads the name. Without keys there is no `header`: any caller could send it."""

    header: str = ""

    def named_by(self, headers: Headers) -> str:
        """Return the name in the header, "" if there is none. Raises InvalidRequest."""
        given = headers.getlist(self.header) if self.header else []
        names = {_text(value).strip() for value in given} - {""}
        if len(names) > 1:
            raise self._refused("names several people")
        name = next(iter(names), "")
        if len(name) > USER_LENGTH:
            raise self._refused(f"has {len(name)} characters")
        if not re.fullmatch(USER_CHARACTERS, name):
            raise self._refused("has control characters")
        return name

    def _refused(self, message: str) -> InvalidRequest:
        fault = FieldError(field=self.header, message=message, allowed=_ALLOWED)
        return InvalidRequest.of([fault])


def of_person(request: R, person: str) -> R:
    """Return the request as that of the person whom the header names, if it names one."""
    return request.model_copy(update={"user": person}) if person else request


def _text(value: str) -> str:
    """Read a header as UTF-8 if it is that: the server decodes it as Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
