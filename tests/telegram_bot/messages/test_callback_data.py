"""The data of buttons."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telegram_bot.messages.callback_data import LIMIT, JobPress, MenuPress, decode, named, short

WORD = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)


@given(st.uuids(), WORD, st.from_regex(r"\d{0,3}", fullmatch=True))
def test_a_generations_button_comes_back_as_it_was(job: UUID, action: str, number: str) -> None:
    press = JobPress(job, action, number)
    assert decode(press.encode()) == press
    assert len(press.encode().encode()) <= LIMIT


@given(st.integers(1, 2**52), st.text(min_size=1), st.text(min_size=1))
def test_a_style_button_fits_however_its_style_is_called(owner: int, mode: str, style: str) -> None:
    argument = f"{short(mode)}/{short(style)}"
    data = MenuPress(owner, "style", argument).encode()
    assert len(data.encode()) <= LIMIT
    assert decode(data) == MenuPress(owner, "style", argument)
    assert named(short(style), ["other", style]) in (style, "other")


@given(st.text())
def test_foreign_data_is_rejected_or_well_formed(data: str) -> None:
    press = decode(data)
    assert press is None or press.action


@pytest.mark.parametrize("data", ["", "j", "j:", "j:x:again", "j:" + "A" * 22, "m:!:style", "-"])
def test_broken_data_is_recognised(data: str) -> None:
    assert decode(data) is None


def test_data_over_64_bytes_is_refused_before_telegram_refuses_it() -> None:
    with pytest.raises(ValueError, match="64"):
        MenuPress(1, "style", "x" * 80).encode()
