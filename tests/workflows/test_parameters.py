"""What callers may send; every fault is reported at once, with its field and what is allowed."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.services import SHIPPED_MODES
from tests.workflows.drawing import OWN, draw
from workflows.parameters import (
    MAX_UNKNOWN,
    Fault,
    InvalidValues,
    Request,
    check,
    json_schema,
)
from workflows.spec import SEED_MAX

GOOD: dict[str, dict[str, Any]] = {"free": {"prompt": "a red fox"}, "restyle": {"image": True}}

names = st.sampled_from(
    sorted({name for mode in OWN for name in mode.spec.parameters} | {"style", "user", ""})
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**400)
    | st.floats()
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def refusal(mode: Any, values: dict[str, Any]) -> list[Fault]:
    """Return every fault of these values; no other exception may be raised."""
    try:
        check(OWN, mode, values)
    except InvalidValues as refused:
        return refused.faults
    return []


def faults(mode: Any, values: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Return each field's message and what it takes, for values that must be refused."""
    refused = refusal(mode, values)
    assert refused
    assert len({fault.field for fault in refused}) == len(refused)
    return {fault.field: (fault.message, fault.allowed) for fault in refused}


@settings(max_examples=300)
@given(
    mode=st.sampled_from(["free", "restyle"]) | anything,
    values=st.dictionaries(names | st.text(st.characters(codec=None)), anything, max_size=8),
)
def test_every_fault_names_its_field_and_what_is_allowed(mode: Any, values: dict[str, Any]) -> None:
    before = repr(values)
    for fault in refusal(mode, values):
        known = [*values, "mode", "prompt", "image", "width", "height"]
        assert fault.field in [name[:60].encode(errors="replace").decode() for name in known]
        assert fault.message
        assert fault.allowed
        assert json.dumps([fault.message, fault.allowed], ensure_ascii=False).encode()
    assert repr(values) == before


@settings(max_examples=100)
@given(name=names.filter(lambda name: name not in ("image", "")), value=anything)
def test_any_one_value_is_drawn_or_is_one_fault_of_its_field(name: str, value: Any) -> None:
    for mode, good in GOOD.items():
        values = {**good, name: value}
        fields = [fault.field for fault in refusal(mode, values)]
        other_side = {"width": "height", "height": "width"}.get(name)
        assert fields in ([], [name], [other_side])
        if not fields:
            assert draw(OWN, mode, values).outputs


@pytest.mark.parametrize(
    ("field", "value", "message", "allowed"),
    [
        ("prompt", None, "is required", "1 to 1500 characters"),
        ("prompt", " \n", "is empty", "1 to 1500 characters"),
        ("prompt", "x" * 1501, "has 1501 characters", "1 to 1500 characters"),
        ("prompt", ["a"], "must be a text", "1 to 1500 characters"),
        ("prompt", "a\0b", "holds control characters", "1 to 1500 characters"),
        ("prompt", "a\ud800b", "holds control characters", "1 to 1500 characters"),
        ("negative_prompt", 3, "must be a text", "0 to 1500 characters"),
        ("seed", -1, "is out of range", f"a whole number from 0 to {SEED_MAX}"),
        ("seed", SEED_MAX + 1, "is out of range", f"a whole number from 0 to {SEED_MAX}"),
        ("seed", 1.5, "must be a whole number", f"a whole number from 0 to {SEED_MAX}"),
        ("seed", True, "must be a whole number", f"a whole number from 0 to {SEED_MAX}"),
        ("seed", "1", "must be a whole number", f"a whole number from 0 to {SEED_MAX}"),
        ("count", 0, "is out of range", "a whole number from 1 to 10"),
        ("count", 11, "is out of range", "a whole number from 1 to 10"),
        ("width", 8, "is out of range", "a whole number from 256 to 2048, a multiple of 8"),
        (
            "height",
            1001,
            "must be a multiple of 8",
            "a whole number from 256 to 2048, a multiple of 8",
        ),
        ("strength", 1.01, "is out of range", "a number from 0 to 1"),
        ("strength", float("nan"), "must be a finite number", "a number from 0 to 1"),
        ("strength", 10**400, "must be a finite number", "a number from 0 to 1"),
        ("strength", "high", "must be a number", "a number from 0 to 1"),
        (
            "style",
            "anme",
            "'anme' is not known; did you mean 'anime'?",
            ["anime", "chatgpt", "lux", "realism"],
        ),
        ("style", [], "must be a text", ["anime", "chatgpt", "lux", "realism"]),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(
    field: str, value: Any, message: str, allowed: Any
) -> None:
    mode = "restyle" if field == "strength" else "free"
    assert faults(mode, {**GOOD[mode], field: value}) == {field: (message, allowed)}


def test_every_fault_is_reported_at_once() -> None:
    values = {"style": "x", "seed": -1, "count": 99, "width": 1024, "sytle": 1, "strength": 0.5}
    assert set(faults("free", values)) == {
        *("prompt", "style", "seed", "count", "sytle", "strength"),
    }
    assert set(faults("free", {"width": 1024, "count": 99})) == {"prompt", "count", "height"}


def test_a_misspelt_mode_or_field_gets_the_nearest_name_as_a_hint() -> None:
    assert faults("restlye", {})["mode"] == (
        "'restlye' is not known; did you mean 'restyle'?",
        sorted(SHIPPED_MODES),
    )
    message, _ = faults("free", {**GOOD["free"], "negativ_prompt": "x"})["negativ_prompt"]
    assert message == "is not a known field; did you mean 'negative_prompt'?"


@pytest.mark.parametrize("mode", [None, 7, ["free"], {"free": 1}, "", "x" * 10**6])
def test_an_unknown_mode_is_refused(mode: Any) -> None:
    assert list(faults(mode, {})) == ["mode"]


def test_thousands_of_unknown_fields_make_a_short_answer() -> None:
    refused = faults("free", {**GOOD["free"], **{f"field {n}": n for n in range(10_000)}})
    assert len(refused) == MAX_UNKNOWN + 1
    assert "field 0" in refused
    assert refused["body"][0] == f"has {10_000 - MAX_UNKNOWN} more unknown fields"


def test_width_and_height_come_together_and_within_twice_the_models_pixels() -> None:
    own = ["1024x1024", "832x1248", "1248x832", "1344x768", "768x1344"]
    assert faults("free", {"prompt": "a", "width": 512}) == {
        "height": ("is required together with width", own)
    }
    assert faults("free", {"prompt": "a", "height": 512}) == {
        "width": ("is required together with height", own)
    }
    assert faults("free", {"prompt": "a", "width": 2048, "height": 2048}) == {
        "width": ("times height is over 2097152 pixels", own)
    }
    assert check(OWN, "free", {"prompt": "a", "width": 2048, "height": 1024}).values


def test_missing_and_null_values_get_their_defaults_and_a_seed_is_chosen() -> None:
    for values in ({}, {"strength": None, "prompt": None, "seed": None, "style": None}):
        request = check(OWN, "restyle", {"image": True, **values})
        assert request.style == "realism"
        assert request.values["strength"] == 0.7
        assert request.values["prompt"] == "the same subject and composition"
        assert request.count == 1
        assert 0 <= request.seed < 2**32
    seeds = {check(OWN, "free", {"prompt": "a"}).seed for _ in range(20)}
    assert len(seeds) > 1


def test_the_largest_seed_has_room_for_a_whole_count() -> None:
    rendered = draw(OWN, "free", {"seed": SEED_MAX, "count": 8})
    assert rendered.seeds[-1] == SEED_MAX + 7 < 2**64


@pytest.mark.parametrize("mode", list(OWN), ids=lambda mode: mode.name)
def test_the_published_schema_is_valid_json_schema(mode: Any) -> None:
    schema = json_schema(mode)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(schema["properties"]) == {"style", *mode.spec.parameters}
    assert schema["properties"]["style"]["enum"] == list(mode.styles)


@settings(max_examples=200)
@given(
    mode=st.sampled_from(["free", "restyle"]),
    values=st.dictionaries(names, anything.filter(lambda value: value is not None), max_size=4),
)
def test_the_check_refuses_whatever_the_schema_refuses(mode: str, values: dict[str, Any]) -> None:
    complete = {**GOOD[mode], **values}
    shown = {**complete, "image": "AAAA"} if "image" in complete else complete
    if not jsonschema.Draft202012Validator(json_schema(OWN.modes[mode])).is_valid(shown):
        faults(mode, complete)


def test_every_text_counts_as_wanted_words_whatever_the_mode_calls_it() -> None:
    values: dict[str, str | int] = {
        "prompt": "a fox",
        "caption": "and a hare",
        "negative_prompt": "a bear",
        "seed": 7,
    }
    request = Request(mode="poster", style="plain", **values)
    assert request.wanted_words.split("\n") == ["a fox", "and a hare"]
    assert request.unwanted_words == "a bear"
