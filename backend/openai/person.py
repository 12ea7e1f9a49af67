"""Who the person behind a call is: limits and refusals count for each."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from backend.schemas import USER_CHARACTERS, USER_LENGTH


def _printable(name: str) -> str:
    if not re.fullmatch(USER_CHARACTERS, name):
        raise ValueError("has control characters")
    return name


_Name = Annotated[str, Field(max_length=USER_LENGTH), AfterValidator(_printable)]


class NamesPerson(BaseModel):
    """A body in which OpenAI's clients name a person."""

    user: _Name | None = Field(
        None, description="whose call it is, where `safety_identifier` is not given"
    )
    safety_identifier: _Name | None = Field(
        None,
        description="whose call it is, by any name: limits and refusals count for each person",
    )

    @property
    def person(self) -> str:
        """The person whose call it is, or an empty name."""
        return self.safety_identifier or self.user or ""
