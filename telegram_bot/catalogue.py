"""The backend's modes, kept at hand so that a prompt never waits for them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog
from pydantic import TypeAdapter

from backend.client import BackendClient
from backend.schemas import ModeInfo
from gpu_server.schemas import StyleInfo
from telegram_bot.storage.database import Database
from web.errors import EaselError, NoGpu

SKETCH = "sketch"
_NO_ENGINE = "none"
_REFRESH_S = 30.0
_FIRST_REFRESH_S = 2.0
_NOTE = "modes"
_ENGINE = "engine"
_MODES = TypeAdapter(list[ModeInfo])
_log = structlog.get_logger("telegram_bot.catalogue")


class Catalogue:
    """`GET /modes`, remembered over restarts for when the backend is away."""

    def __init__(self, backend: BackendClient, database: Database) -> None:
        self._backend = backend
        self._database = database
        kept = database.note(_NOTE)
        self._modes: list[ModeInfo] = _MODES.validate_json(kept) if kept else []
        self._engine = database.note(_ENGINE)

    async def modes(self) -> list[ModeInfo]:
        """Raises an EaselError when the backend was never reached yet."""
        if not self._modes:
            await self.refresh()
        if not self._modes:
            raise NoGpu("The backend offers no modes")
        return self._modes

    async def refresh(self) -> None:
        await self._refresh_engine()
        modes = await self._backend.modes()
        if modes != self._modes:
            self._modes = modes
            self._database.set_note(_NOTE, _MODES.dump_json(modes).decode())

    async def _refresh_engine(self) -> None:
        """The one that was there last stands while no GPU server answers."""
        engine = (await self._backend.health()).engine
        if engine not in (_NO_ENGINE, self._engine):
            self._engine = engine
            self._database.set_note(_ENGINE, engine)

    @property
    def sketches(self) -> bool:
        """Whether pictures are drawn by the sketch engine, without an AI model."""
        return self._engine is not None and self._engine.startswith(SKETCH)

    async def run(self) -> None:
        """Keeps it fresh until cancelled."""
        while True:
            try:
                await self.refresh()
            except EaselError as error:
                _log.debug("modes_not_refreshed", code=error.code)
            await asyncio.sleep(_REFRESH_S if self._engine else _FIRST_REFRESH_S)

    def known(self, name: str) -> ModeInfo | None:
        return next((mode for mode in self._modes if mode.name == name), None)

    async def for_words(self, preferred: str | None = None) -> ModeInfo:
        """The mode that a plain text is a prompt for; raises EaselError."""
        return _choose(await self.modes(), preferred, takes_image=False)

    async def for_photo(self) -> ModeInfo:
        """The mode that a photo is sent for; raises EaselError."""
        return _choose(await self.modes(), None, takes_image=True)


def _choose(modes: Sequence[ModeInfo], preferred: str | None, *, takes_image: bool) -> ModeInfo:
    fitting = [mode for mode in modes if mode.takes_image == takes_image]
    if not fitting:
        raise NoGpu("The backend has no mode for this")
    return next((mode for mode in fitting if mode.name == preferred), fitting[0])


def style_of(mode: ModeInfo, name: str | None) -> StyleInfo:
    """The style of this name, or else the mode's default."""
    by_name = {style.name: style for style in mode.styles}
    return by_name.get(name or "") or by_name.get(mode.default_style) or mode.styles[0]


def schema_of(mode: ModeInfo, parameter: str) -> dict[str, Any] | None:
    """The JSON Schema of one parameter; None where the mode does not have it."""
    found: dict[str, Any] | None = mode.parameters.get("properties", {}).get(parameter)
    return found


def strengths(mode: ModeInfo) -> dict[str, float]:
    """Three steps of `strength` by the name of their text; empty where the mode has none."""
    schema = schema_of(mode, "strength")
    if schema is None:
        return {}
    low, high = float(schema.get("minimum", 0)), float(schema.get("maximum", 1))
    middle = float(schema.get("default", (low + high) / 2))
    return {
        "loose": round(low + (middle - low) * 0.5, 2),
        "medium": round(middle, 2),
        "close": round(middle + (high - middle) * 0.75, 2),
    }
