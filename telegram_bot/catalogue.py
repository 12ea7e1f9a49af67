"""The backend's modes, cached so that a prompt never waits for them."""

import asyncio
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from backend.client import BackendClient
from backend.schemas import ModeInfo
from gpu_server.schemas import SKETCH, StyleInfo
from telegram_bot.storage.database import Database
from telegram_bot.storage.lenient import parsed
from web.errors import EaselError, NoGpu

_NO_ENGINE = "none"
_REFRESH_INTERVAL_S = 10.0
_FIRST_REFRESH_INTERVAL_S = 2.0
_MODES_NOTE = "modes"
_ENGINE_NOTE = "engine"
_MODES = TypeAdapter(list[ModeInfo])
log = structlog.get_logger("telegram_bot.catalogue")


class Catalogue:
    """`GET /modes`, kept across restarts for when the backend is away."""

    def __init__(self, backend: BackendClient, database: Database) -> None:
        self._backend = backend
        self._database = database
        self._modes = readable(parsed(database.note(_MODES_NOTE)))
        self._engine = database.note(_ENGINE_NOTE)

    async def modes(self) -> list[ModeInfo]:
        """Return all modes; raises an EaselError if the backend has never answered."""
        if not self._modes:
            await self.refresh()
        if not self._modes:
            raise NoGpu("The backend offers no modes")
        return self._modes

    async def refresh(self) -> None:
        """Fetch modes and engine; raises EaselError."""
        engine = (await self._backend.health()).engine
        if engine not in (_NO_ENGINE, self._engine):  # without a GPU server the last one stays
            self._engine = engine
            self._database.cache_note(_ENGINE_NOTE, engine)
        modes = readable((await self._backend.peer.request("GET", "/modes")).json())
        modes = [mode for mode in modes if mode.styles]  # the rest is broken
        if modes != self._modes:
            self._modes = modes
            self._database.cache_note(_MODES_NOTE, _MODES.dump_json(modes).decode())

    @property
    def sketches(self) -> bool:
        """Whether pictures are drawn by the sketch engine, without an AI model."""
        return self._engine is not None and self._engine.startswith(SKETCH)

    async def run(self) -> None:
        """Keep the catalogue fresh until cancelled."""
        while True:
            try:
                await self.refresh()
            except EaselError as error:
                log.debug("modes_refresh_failed", code=error.code)
            except ValueError:  # an answer of another version; the modes known so far stay
                log.warning("modes_unreadable")
            await asyncio.sleep(_REFRESH_INTERVAL_S if self._engine else _FIRST_REFRESH_INTERVAL_S)

    async def takes_photos(self) -> bool:
        """Return whether a mode restyles photos; raises EaselError."""
        return any(mode.takes_image for mode in await self.modes())

    def known(self, name: str) -> ModeInfo | None:
        return next((mode for mode in self._modes if mode.name == name), None)

    async def choose(self, preferred: str | None = None, *, takes_image: bool = False) -> ModeInfo:
        """Return the mode for a text or a photo, if possible the preferred; raises EaselError."""
        fitting = [mode for mode in await self.modes() if mode.takes_image == takes_image]
        if not takes_image:
            fitting = [mode for mode in fitting if schema_of(mode, "prompt")]
        if not fitting:
            raise NoGpu("The backend has no mode for this")
        fitting.sort(key=_needs_more)
        return next((mode for mode in fitting if mode.name == preferred), fitting[0])


def readable(raw: object) -> list[ModeInfo]:
    """Return the modes that this version can read and draw; a newer backend may have others."""
    modes = []
    for item in raw if isinstance(raw, list) else ():
        try:
            mode = ModeInfo.model_validate(item)
            mode.styles = [style for style in mode.styles if style.model]  # the rest is broken
        except ValidationError:
            continue
        if mode.styles:
            modes.append(mode)
    return modes


def style_of(mode: ModeInfo, name: str | None) -> StyleInfo:
    """Return the style of this name, or else the mode's default."""
    by_name = {style.name: style for style in mode.styles}
    return by_name.get(name or "") or by_name.get(mode.default_style) or mode.styles[0]


def schema_of(mode: ModeInfo, parameter: str) -> dict[str, Any] | None:
    """Return the JSON Schema of one parameter; None if the mode does not have it."""
    schema: dict[str, Any] | None = mode.parameters.get("properties", {}).get(parameter)
    return schema


def photo_names(mode: ModeInfo) -> list[str]:
    """Return the parameters whose values are photos."""
    schemas = mode.parameters.get("properties", {})
    return [name for name, schema in schemas.items() if schema.get("contentEncoding") == "base64"]


def further_photos(mode: ModeInfo) -> list[str]:
    return [name for name in photo_names(mode) if name != "image"]


def choices(mode: ModeInfo) -> list[str]:
    """Return the parameters with a list of values, besides the style."""
    schemas = mode.parameters.get("properties", {})
    return [name for name, schema in schemas.items() if name != "style" and schema.get("enum")]


def switches(mode: ModeInfo) -> dict[str, bool]:
    """Return the parameters that are true or false, with their defaults."""
    schemas = mode.parameters.get("properties", {})
    booleans = {n: schema for n, schema in schemas.items() if schema.get("type") == "boolean"}
    return {name: bool(schema.get("default")) for name, schema in booleans.items()}


def _needs_more(mode: ModeInfo) -> bool:
    """Whether it takes more than a prompt or one photo: such modes are never the default."""
    return not {*mode.parameters.get("required", ())} <= {"prompt", "image"}


def strengths(mode: ModeInfo) -> dict[str, float]:
    """Return three steps of `strength` by the name of their text; empty if the mode has none."""
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
