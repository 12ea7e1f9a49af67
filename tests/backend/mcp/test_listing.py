"""What is listed when a catalogue has several modes of a kind."""

from typing import Any

from backend.mcp import tools
from gpu_server.schemas import ModeInfo, StyleInfo

PHOTO = {"type": "string", "contentEncoding": "base64", "description": "A photo."}


def mode(
    name: str, *, available: bool = True, required: tuple[str, ...] = (), **parameters: Any
) -> ModeInfo:
    style = StyleInfo(
        name=f"{name}-style",
        title={"en": "Plain"},
        description={"en": "Plain."},
        model="m",
        sizes={},
        ignores=[],
        available=available,
    )
    named = {"type": "string", "enum": [style.name], "default": style.name}
    return ModeInfo(
        name=name,
        title={"en": name},
        description={"en": f"It does {name}.", "ru": "Делает."},
        default_style=style.name,
        takes_image="image" in parameters,
        available=available,
        parameters={"properties": {"style": named, **parameters}, "required": [*required]},
        texts={},
        styles=[style],
    )


def schema(modes: list[ModeInfo], tool: str) -> dict[str, Any]:
    return {one.name: one for one in tools.describe(modes, "a form")}[tool].input_schema


def test_a_parameter_is_described_as_widely_as_any_mode_takes_it() -> None:
    narrow = mode("free", required=("prompt",), prompt={"type": "string", "maxLength": 10})
    wide = mode("pixel", prompt={"type": "string", "maxLength": 99}, size={"type": "integer"})
    listed = schema([narrow, wide], "draw")
    assert listed["properties"]["mode"]["enum"] == ["free", "pixel"]
    assert listed["properties"]["prompt"]["maxLength"] == 99
    assert listed["properties"]["style"]["enum"] == ["free-style", "pixel-style"]
    assert "Only in: pixel." in listed["properties"]["size"]["description"]
    assert listed["required"] == []


def test_the_usual_mode_is_the_default_while_it_can_draw() -> None:
    modes = [mode("cutout", image=PHOTO), mode("restyle", image=PHOTO), mode("edit", image=PHOTO)]
    assert schema(modes, "edit_picture")["properties"]["mode"]["default"] == "edit"
    modes[2] = mode("edit", available=False, image=PHOTO)
    assert schema(modes, "edit_picture")["properties"]["mode"]["default"] == "restyle"
    assert "a form" in schema(modes, "edit_picture")["properties"]["image"]["description"]


def test_a_tool_that_no_mode_serves_is_not_listed() -> None:
    broken = mode("broken").model_copy(update={"parameters": {}, "reason": "no graph"})
    names = [tool.name for tool in tools.describe([mode("free"), broken], "a form")]
    assert "draw" in names
    assert "edit_picture" not in names
    assert schema([mode("free"), broken], "draw")["properties"]["mode"]["enum"] == ["free"]
