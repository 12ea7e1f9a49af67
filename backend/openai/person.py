"""Who the person behind a call is: limits and refusals count for each."""

from pydantic import BaseModel, Field

from backend.schemas import USER_CHARACTERS, USER_LENGTH


class NamesPerson(BaseModel):
    """A body in which OpenAI's clients name a person."""

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

    @property
    def person(self) -> str:
        """The person whose call it is, or an empty name."""
        return self.safety_identifier or self.user or ""
