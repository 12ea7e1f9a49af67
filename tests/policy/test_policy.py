"""What a refusal says, how texts are read, and how disguised prompts are judged."""

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from importlib.resources import files
from typing import Literal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policy import Policy, Refusal
from tests.policy.labelled import Labelled, read

POLICY = Policy.load()
LEET = str.maketrans("aeios", "43105")
HOMOGLYPHS = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ") | str.maketrans(
    "асеорхуАВСЕНКМОРТХ", "aceopxyABCEHKMOPTX"
)
ZERO_WIDTH = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\ufe0f", "\u0336")
SEPARATORS = (".", "-", "_", "*", "·", "/")


def _plain(case: Labelled) -> bool:
    """Whether a case is undisguised: words of English or Russian letters."""
    return not case.negative and re.fullmatch(r"[A-Za-zА-яЁё ]{4,}", case.prompt) is not None


HARMFUL = [case for case in read("prompts.toml") if case.category and _plain(case)]
HARMLESS = [case for case in read("prompts.toml") if not case.category]


def _fullwidth(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _sprinkle(text: str, marks: tuple[str, ...], data: st.DataObject) -> str:
    """Put marks inside words at random places."""
    pieces = []
    for left, right in zip(text, text[1:] + " ", strict=True):
        inside = left.isalpha() and right.isalpha()
        pieces.append(left + (data.draw(st.sampled_from(("", *marks))) if inside else ""))
    return "".join(pieces)


def _random_case(text: str, data: st.DataObject) -> str:
    flips = data.draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    return "".join(c.upper() if flip else c for c, flip in zip(text, flips, strict=True))


def _random_letters(text: str, table: dict[int, int], data: st.DataObject) -> str:
    flips = data.draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text)))
    mixed = (
        c.translate(table) if flip and c in map(chr, table) else c
        for c, flip in zip(text, flips, strict=True)
    )
    return "".join(mixed)


def _is_refused(text: str, case: Labelled) -> bool:
    return POLICY.check(text, photo=case.photo) is not None


@settings(max_examples=150, deadline=None)
@given(case=st.sampled_from(HARMFUL), data=st.data())
def test_a_harmful_prompt_stays_refused_with_invisible_marks_in_it(
    case: Labelled, data: st.DataObject
) -> None:
    assert _is_refused(_sprinkle(case.prompt, ZERO_WIDTH, data), case)


@settings(max_examples=150, deadline=None)
@given(case=st.sampled_from(HARMFUL), data=st.data())
def test_a_harmful_prompt_stays_refused_with_separators_in_it(
    case: Labelled, data: st.DataObject
) -> None:
    assert _is_refused(_sprinkle(case.prompt, SEPARATORS, data), case)


@settings(max_examples=150, deadline=None)
@given(case=st.sampled_from(HARMFUL), data=st.data())
def test_a_harmful_prompt_stays_refused_in_lookalike_letters_and_any_case(
    case: Labelled, data: st.DataObject
) -> None:
    assert _is_refused(_random_letters(_random_case(case.prompt, data), HOMOGLYPHS, data), case)


@settings(max_examples=150, deadline=None)
@given(case=st.sampled_from(HARMFUL), data=st.data())
def test_a_harmful_prompt_stays_refused_in_leetspeak(case: Labelled, data: st.DataObject) -> None:
    text = _random_letters(case.prompt, LEET, data)
    numbers = (word for word in text.split() if word.isdigit() and len(word) > 1)
    assume(not any(numbers))  # 455 is a number
    assert _is_refused(text, case)


@settings(max_examples=150, deadline=None)
@given(case=st.sampled_from(HARMFUL), data=st.data())
def test_a_harmful_prompt_stays_refused_under_several_disguises_at_once(
    case: Labelled, data: st.DataObject
) -> None:
    text = _random_letters(_random_case(case.prompt, data), HOMOGLYPHS, data)
    text = _sprinkle(_sprinkle(text, SEPARATORS, data), ZERO_WIDTH, data)
    assert _is_refused(_fullwidth(text), case)


@pytest.mark.parametrize("separator", [" ", ".", "-", " . "])
def test_a_harmful_prompt_stays_refused_when_spelled_out(separator: str) -> None:
    passed = [
        case.prompt
        for case in HARMFUL
        if not _is_refused("  ".join(map(separator.join, case.prompt.split())), case)
    ]
    assert not passed


@pytest.mark.parametrize("prompt", ["n*ked woman", "s*x scene", "p#rn", "г*лая девушка"])
def test_one_hidden_letter_does_not_hide_a_word(prompt: str) -> None:
    assert POLICY.check(prompt) is not None
    assert POLICY.check("5*4 tiles, a f*x, *ape* and C# in neon") is None


def _spellings(entry: str) -> Iterator[str]:
    """Yield the entry once with each alternative of each of its words."""
    slots = [slot.split("|") for slot in entry.split()]
    for at, slot in enumerate(slots):
        for word in slot:
            words = [*(first for first, *_ in slots[:at]), word, *(s[0] for s in slots[at + 1 :])]
            yield " ".join(each.replace("~", "ый").rstrip("*") for each in words)


def test_every_listed_word_is_found() -> None:
    lists = tomllib.loads(files("policy").joinpath("words.toml").read_text("utf-8"))
    sets = {name: "|".join(entries) for name, entries in lists["set"].items()}
    lost = [
        (concept, text)
        for concept, languages in lists["concept"].items()
        for entries in languages.values()
        for entry in entries
        for text in _spellings(entry.format_map(sets))
        if concept not in POLICY._read_text(text)[1]
    ]
    assert not lost


@settings(max_examples=200, deadline=None)
@given(case=st.sampled_from(HARMLESS), data=st.data())
def test_a_harmless_prompt_passes_however_it_is_typed(case: Labelled, data: st.DataObject) -> None:
    form: Literal["NFC", "NFD"] = data.draw(st.sampled_from(("NFC", "NFD")))
    spaces = data.draw(st.sampled_from((" ", "  ", "\n", "\u00a0")))
    typed = unicodedata.normalize(form, _random_case(case.prompt, data)).replace(" ", spaces)
    assert POLICY.check(f" {typed} ", case.negative, photo=case.photo) is None


@settings(max_examples=150, deadline=None)
@given(prompt=st.text(max_size=300), negative=st.text(max_size=300), photo=st.booleans())
def test_any_text_at_all_is_judged_the_same_twice(prompt: str, negative: str, photo: bool) -> None:
    first = POLICY.check(prompt, negative, photo=photo)
    assert POLICY.check(prompt, negative, photo=photo) == first


def test_a_refusal_names_its_category_in_english_and_russian_and_repeats_no_word() -> None:
    refusal = POLICY.check("nude woman")
    assert refusal is not None
    assert refusal.category == "sexual"
    assert refusal.title("en") == refusal.title("de") == "sexual content"
    assert refusal.title("ru") == "сексуальное содержание"
    assert "nude" not in repr(refusal).replace(refusal.rule, "")


def test_a_refusal_cannot_be_changed() -> None:
    refusal = Refusal("sexual", "sexual-explicit")
    with pytest.raises(FrozenInstanceError):
        refusal.category = "other"  # type: ignore[misc]


def test_the_most_serious_category_is_reported() -> None:
    refusal = POLICY.check("nude child celebrity, undressing")
    assert refusal is not None
    assert refusal.category == "sexual_minors"


def test_a_negative_prompt_may_exclude_nudity_but_not_clothes() -> None:
    assert POLICY.check("portrait of a woman", "nudity, nsfw") is None
    assert POLICY.check("portrait of a woman", "clothes") is not None
    assert POLICY.check("watercolour", "dress", photo=True) is not None
    assert POLICY.check("a quiet street", "dress") is None


def test_artistic_wording_passes_for_text_and_not_for_a_photo_or_a_minor() -> None:
    prompt = "renaissance marble sculpture, nude"
    assert POLICY.check(prompt) is None
    assert POLICY.check(prompt, photo=True) is not None
    assert POLICY.check(f"{prompt} of a child") is not None


def test_harmless_phrases_do_not_reach_over_a_comma_or_excuse_the_rest() -> None:
    assert POLICY.check("nude lipstick") is None
    assert POLICY.check("nude, lipstick") is not None
    assert POLICY.check("nude lipstick on a naked woman") is not None
    assert POLICY.check("remove the stain and her dress", photo=True) is not None


def test_one_policy_serves_many_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda case: _is_refused(case.prompt, case), HARMFUL * 3))
    assert all(verdicts)
