"""The tools as they are listed: parameters and choices as the catalogue has them now. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from mcp_types import Tool, ToolAnnotations
from pydantic import BaseModel, Field

from backend.schemas import EndOutcome
from gpu_server.schemas import ModeInfo, State

DRAW, EDIT = "draw", "edit_picture"
_PREFERRED: Final = ("free", "edit", "restyle")
"""The default modes, the first that there is."""
FORMAT: Final = {
    "type": "string",
    "enum": ["webp", "png", "jpeg"],
    "default": "webp",
    "description": "Pictures come themselves up to 1 MB in all, the others as links; a WebP "
    "is small.",
}
_ID: Final = {"type": "string", "format": "uuid", "description": "The generation's id."}
_ID_SCHEMA: Final = {
    "type": "object",
    "properties": {"id": _ID},
    "required": ["id"],
    "additionalProperties": False,
}
_READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_DRAWS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)
_CANCELS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)


class Picture(BaseModel):
    seed: int
    width: int
    height: int
    media_type: str
    url: str = Field(description="where it can be fetched, for an hour if the address is signed")


class Drawn(BaseModel):
    """A generation as the tools show it."""

    id: str
    status: State
    mode: str
    style: str
    seed: int = Field(description="picture k, from 0, was drawn with seed + k")
    engine: str = Field(description="`sketch…` means drawn without an AI model")
    stage: str = Field(description="what happens now, such as `sampling 5/28`")
    progress: float = Field(description="from 0 to 1")
    position: int | None = Field(None, description="place in line, from 1")
    estimated_seconds: float | None = None
    error: str | None = Field(None, description="why it failed")
    pictures: list[Picture] = []


class Cancelled(BaseModel):
    id: str
    status: State
    outcome: EndOutcome
    detail: str


class Modes(BaseModel):
    modes: list[dict[str, Any]] = Field(
        description="name, title, description, parameters as JSON Schema, and styles of each"
    )


def of(modes: Sequence[ModeInfo], tool: str) -> list[ModeInfo]:
    """Return the modes of a tool that draws: those that take a photo, or those that take none."""
    return [m for m in modes if m.parameters and m.takes_image == (tool == EDIT)]


def default(modes: Sequence[ModeInfo]) -> str:
    """Return the mode that draws when none is named: of the usual ones, one that can draw now."""
    able = [mode.name for mode in modes if mode.available] or [mode.name for mode in modes]
    return next((name for name in _PREFERRED if name in able), able[0])


def describe(modes: Sequence[ModeInfo], photo_forms: str) -> list[Tool]:
    """List the tools; one that no mode could serve is left out."""
    drawing = [
        Tool(
            name=name,
            title=title,
            description=text,
            input_schema=_schema(of(modes, name), photo_forms),
            output_schema=Drawn.model_json_schema(),
            annotations=_DRAWS,
        )
        for name, title, text in _DRAWING
        if of(modes, name)
    ]
    return [
        Tool(
            name="list_modes",
            title="List modes and styles",
            description="What can be drawn: every mode with its parameters and styles, whether "
            "it is available right now, and if not, why.",
            input_schema={"type": "object", "properties": {}, "additionalProperties": False},
            output_schema=Modes.model_json_schema(),
            annotations=_READS,
        ),
        *drawing,
        Tool(
            name="generation_status",
            title="Look at a generation",
            description="State, place in line and progress of a generation; its pictures, if it "
            "succeeded. For a call that was cut off, too.",
            input_schema=_ID_SCHEMA,
            output_schema=Drawn.model_json_schema(),
            annotations=_READS,
        ),
        Tool(
            name="cancel_generation",
            title="Cancel a generation",
            description="Stop a generation that waits or is being drawn. Nothing happens to one "
            "that has ended.",
            input_schema=_ID_SCHEMA,
            output_schema=Cancelled.model_json_schema(),
            annotations=_CANCELS,
        ),
    ]


_DRAWING: Final = (
    (
        DRAW,
        "Draw a picture",
        "Draw pictures from words and wait for them. Progress tells the place in line and how "
        "far the drawing is. Cancelling the call stops the drawing.",
    ),
    (
        EDIT,
        "Draw from a picture",
        "Draw anew from a photo or an earlier picture, and wait for the result. Cancelling the "
        "call stops the drawing.",
    ),
)


def modes_shown(modes: Iterable[ModeInfo]) -> Modes:
    """Show the modes in English: texts in every language are many times as long."""
    return Modes(
        modes=[
            {
                **mode.model_dump(exclude={"texts", "title", "description", "styles"}),
                "title": _english(mode.title),
                "description": _english(mode.description),
                "styles": [
                    {
                        **style.model_dump(exclude={"title", "description"}),
                        "title": _english(style.title),
                        "description": _english(style.description),
                    }
                    for style in mode.styles
                ],
            }
            for mode in modes
        ]
    )


def is_photo(schema: dict[str, Any]) -> bool:
    return schema.get("contentEncoding") == "base64"


def _schema(modes: Sequence[ModeInfo], photo_forms: str) -> dict[str, Any]:
    """Describe the parameters of all these modes at once."""
    named = {"type": "string", "enum": [mode.name for mode in modes], "default": default(modes)}
    named["description"] = " ".join(f"{m.name}: {_english(m.description)}" for m in modes)
    names = list(dict.fromkeys(name for mode in modes for name in mode.parameters["properties"]))
    return {
        "type": "object",
        "properties": {
            "mode": named,
            **{name: _property(name, modes, photo_forms) for name in names},
            "format": FORMAT,
        },
        "required": [
            name for name in names if all(name in mode.parameters["required"] for mode in modes)
        ],
        "additionalProperties": False,
    }


def _property(name: str, modes: Sequence[ModeInfo], photo_forms: str) -> dict[str, Any]:
    """Describe a parameter as widely as any mode takes it; each mode checks its own bounds."""
    having = [mode for mode in modes if name in mode.parameters["properties"]]
    schemas = [mode.parameters["properties"][name] for mode in having]
    merged = {
        key: value
        for key, value in schemas[0].items()
        if all(schema.get(key) == value for schema in schemas)
    }
    for key, widest in (("minimum", min), ("maximum", max), ("maxLength", max)):
        if all(key in schema for schema in schemas):
            merged[key] = widest(schema[key] for schema in schemas)
    if all("enum" in schema for schema in schemas):
        merged["enum"] = list(dict.fromkeys(one for schema in schemas for one in schema["enum"]))
    said = [merged.get("description") or merged.get("title") or name]
    if is_photo(merged):
        said.append(f"As {photo_forms}.")
    if name == "style":
        said = [_styles(mode) for mode in having]
    if len(having) < len(modes):
        said.append(f"Only in: {', '.join(mode.name for mode in having)}.")
    return {**merged, "description": " ".join(said)}


def _styles(mode: ModeInfo) -> str:
    """Name the default style, and what there is to know of each."""
    each = "; ".join(f"{style.name}: {_english(style.description)}" for style in mode.styles)
    return f"In {mode.name} (default {mode.default_style}): {each}"


def _english(texts: dict[str, str]) -> str:
    return texts.get("en") or next(iter(texts.values()), "")
