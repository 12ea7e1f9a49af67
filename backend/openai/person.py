"""Who the person behind a call is: limits and refusals count for each."""

from fastapi import Request
from pydantic import BaseModel, Field

from backend.schemas import USER_CHARACTERS, USER_LENGTH
from backend.state import State


class NamesPerson(BaseModel):
    """The fields in which OpenAI's clients name a person."""

    user: str | None = Field(
        None,
        max_length=USER_LENGTH,
        pattern=USER_CHARACTERS,
        description="whose call it is, where `safety_identifier` is not given",
    )
    safety_identifier: str | None = Field(
        None,
        max_length=USER_LENGTH,
        pattern=USER_CHARACTERS,
        description="whose call it is, by any name: limits and refusals count for each person",
    )


def person_of(request: Request, body: NamesPerson) -> str:
    """Return the name of the person, or an empty one; a header goes before what the body says."""
    named = State.of(request.app).people.named_by(request.headers)
    return named or body.safety_identifier or body.user or ""
