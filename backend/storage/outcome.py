"""How a generation ended: the final record, kept in its row."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from gpu_server.schemas import ImageInfo, State, Timings
from web.errors import EaselError, Problem, error_from


class Outcome(BaseModel):
    """The final record of a generation. `progress` is how far it got, 0 to 1."""

    model_config = ConfigDict(frozen=True)

    status: State = Field(exclude=True)
    """Has a column of its own."""
    engine: str = ""
    timings: Timings = Timings()
    images: tuple[ImageInfo, ...] = ()
    error: Problem | None = None
    progress: float = 0.0

    @classmethod
    def failed(cls, error: EaselError, **facts: Any) -> Self:
        return cls(status=State.failed, error=error.problem(), **facts)

    @classmethod
    def cancelled(cls, **facts: Any) -> Self:
        return cls(status=State.cancelled, **facts)

    @property
    def failure(self) -> EaselError | None:
        """The error as an exception."""
        return error_from(self.error) if self.error else None
