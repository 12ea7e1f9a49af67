"""Parameters in the text, against the catalogue as the backend publishes it."""

import pytest

from backend.schemas import ModeInfo
from telegram_bot.generating.options import parse
from tests.telegram_bot.published import published

FREE, RESTYLE = published("free"), published("restyle")


@pytest.mark.parametrize(
    ("text", "prompt", "values"),
    [
        ("a fox", "a fox", {}),
        ("a fox --seed 42", "a fox", {"seed": 42}),
        ("--seed 42 a fox in snow", "a fox in snow", {"seed": 42}),
        ("a fox --seed=42 in snow", "a fox in snow", {"seed": 42}),
        ("a fox —seed 42", "a fox", {"seed": 42}),
        ("a fox --size 3:2", "a fox", {"width": 1248, "height": 832}),
        ("a fox --ar 2:3 --style anime", "a fox", {"width": 832, "height": 1216, "style": "anime"}),
        ("a fox --size 640x480", "a fox", {"width": 640, "height": 480}),
        ("лиса --style Аниме", "лиса", {"style": "anime"}),
        ("fox --no ice, sky --n 2", "fox", {"negative_prompt": "ice, sky", "count": 2}),
        ("a well-known fox -- running", "a well-known fox -- running", {}),
        ("a fox--seed 3", "a fox--seed 3", {}),
        ("fox --ar 2:3\nin snow", "fox in snow", {"width": 832, "height": 1248}),
        ("fox\t--seed 4\tin snow", "fox\t in snow", {"seed": 4}),
        ("fox --seed 4\u00a0in snow", "fox in snow", {"seed": 4}),
        ("fox\n--no trees, people\nmorning", "fox\n morning", {"negative_prompt": "trees, people"}),
        ("a quiet forest —misty, blue", "a quiet forest —misty, blue", {}),
        ("fox —the red one— on a hill", "fox —the red one— on a hill", {}),
    ],
)  # fmt: skip
def test_options_are_taken_out_of_the_prompt(
    text: str, prompt: str, values: dict[str, object]
) -> None:
    options = parse(text, FREE, None)
    assert (options.prompt, options.values, options.faults) == (prompt, values, [])


def test_strength_is_for_photos_and_may_have_a_decimal_comma() -> None:
    assert parse("--strength 0,6", RESTYLE, None).values == {"strength": 0.6}
    [fault] = parse("fox --strength 0.6", FREE, None).faults
    assert fault.key in ("option.unknown", "option.misspelt")


@pytest.mark.parametrize(
    ("mode", "known"),
    [
        (FREE, {"--style", "--seed", "--size", "--count", "--no"}),
        (RESTYLE, {"--style", "--seed", "--size", "--count", "--no", "--strength"}),
    ],
)
def test_an_unknown_option_is_answered_with_those_the_mode_has(
    mode: ModeInfo, known: set[str]
) -> None:
    [fault] = parse("fox --xqzw 4", mode, None).faults
    assert set(fault.values["known"].split(", ")) == known


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("fox --seed x", "option.whole"),
        ("fox --seed -1", "option.whole"),
        ("fox --seed 99999999999999999999999", "option.whole"),
        ("fox --count 11", "option.whole"),
        ("fox --count 0", "option.whole"),
        ("fox --seed", "option.empty"),
        ("fox --size 5:1", "option.size"),
        ("fox --size 641x480", "option.step"),
        ("fox --size 64x64", "option.whole"),
        ("fox --style anme", "option.style_near"),
        ("fox --style zzzzzz", "option.style"),
        ("fox --sede 4", "option.misspelt"),
        ("fox --image x", "option.unknown"),
        ("fox --xqzw 4", "option.unknown"),
    ],
)
def test_a_wrong_option_is_a_fault_with_its_own_text(text: str, key: str) -> None:
    faults = parse(text, FREE, None).faults
    assert key in [fault.key for fault in faults]


def test_a_parameter_of_a_type_that_is_not_known_yet_is_no_option_and_harms_no_other() -> None:
    later = {"palette": {"anyOf": [{"type": "array"}]}, "tiled": {"type": "boolean"}}
    properties = FREE.parameters["properties"] | later
    mode = FREE.model_copy(update={"parameters": {"properties": properties}})
    assert parse("fox --seed 4", mode, None).values == {"seed": 4}
    [fault] = parse("fox --palette x", mode, None).faults
    assert fault.key == "option.unknown"
    assert "palette" not in fault.values["known"]
