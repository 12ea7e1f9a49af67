"""One call that draws: the arguments as a request, and progress on the way to its end."""

import base64
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from backend.mcp import tools
from backend.mcp.studio import Happening, Studio
from backend.schemas import Generation, GenerationRequest
from gpu_server.schemas import ModeInfo, ProgressEvent, Result
from web import errors
from web.errors import EaselError, FieldError, InvalidRequest

_LEAST_STEP = 0.0001
"""Progress must grow with every notification, though a place in line is no progress."""
_NOT_OFFERED = GenerationRequest.model_fields.keys() - {"mode", "style", "format"}
"""Fields of a request that say who asks: the key does that here."""


class Report(Protocol):
    def __call__(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> Awaitable[None]: ...


@dataclass
class Drawing:
    studio: Studio
    tool: str
    report: Report
    _generation: UUID | None = field(default=None, init=False)
    _reported: float = field(default=0.0, init=False)

    async def run(self, given: dict[str, Any]) -> Result:
        """Draw, and return the images. Raises the error it ended with, or Cancelled."""
        await self._say(0.0, "asking")  # begins the answer: the turn may take long to come
        fields = await self._request(given)
        try:
            async with self.studio.generate(fields) as events:
                async for event in events:
                    if isinstance(event, Result):
                        return event
                    await self._note(event)
            raise errors.NoGpu("The backend stopped answering before the end")
        except EaselError as error:
            if self._generation is not None:
                raise type(error)(
                    f"{error.detail}. It may go on: ask generation_status for {self._generation}",
                    retry_after=error.retry_after,
                ) from error
            raise

    async def _request(self, given: dict[str, Any]) -> dict[str, Any]:
        modes = await self.studio.modes()
        own = tools.of(modes, self.tool)
        fields = {"format": tools.FORMAT["default"], **given}
        fields.setdefault("mode", tools.default(own) if own else "")
        _require_offered(fields, own, modes)
        chosen = next((mode for mode in own if mode.name == fields["mode"]), None)
        properties = chosen.parameters["properties"] if chosen else {}
        for name in fields.keys() & properties.keys():
            if tools.is_photo(properties[name]):
                fields[name] = await self._photo(fields[name])
        return fields

    async def _photo(self, value: Any) -> Any:
        """Return a photo in base64, where it is an earlier picture or a file."""
        if not isinstance(value, str):
            return value
        try:
            earlier = UUID(value)
        except ValueError:
            data = await self.studio.file(value)
        else:
            data = await self.studio.image(earlier, 0)
        return value if data is None else base64.b64encode(data).decode()

    async def _note(self, event: Happening) -> None:
        """Report what happens. Raises the error of a generation that has ended without images."""
        if isinstance(event, Generation):
            self._generation = event.id
            if event.status.ended:
                self._generation = None
                raise errors.error_from(event.error) if event.error else errors.Cancelled
            await self._say(event.progress, _stage(event))
        elif isinstance(event, ProgressEvent):
            await self._say(event.progress, event.stage)

    async def _say(self, progress: float, message: str) -> None:
        self._reported = max(progress, self._reported + _LEAST_STEP)
        await self.report(self._reported, 1.0, message)


def _stage(generation: Generation) -> str:
    if generation.position is None:
        return generation.stage
    place = f"{generation.stage}, place {generation.position}"
    seconds = generation.estimated_seconds
    return place if seconds is None else f"{place}, about {round(seconds)} s"


def _require_offered(fields: dict[str, Any], own: list[ModeInfo], modes: list[ModeInfo]) -> None:
    """Raise InvalidRequest for a mode of the other tool, or a field that is no parameter."""
    faults = [
        FieldError(field=name, message="is not a known field", allowed="the tool's parameters")
        for name in fields.keys() & _NOT_OFFERED
    ]
    names = [mode.name for mode in own]
    if fields["mode"] in [mode.name for mode in modes if mode not in own]:
        other = tools.EDIT if tools.of(modes, tools.DRAW) == own else tools.DRAW
        message = f"'{fields['mode']}' is not a mode of this tool but of {other}"
        faults.append(FieldError(field="mode", message=message, allowed=names))
    if faults:
        raise InvalidRequest.of(faults)
