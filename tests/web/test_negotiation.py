"""`Accept` as RFC 9110 has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web import negotiation
from web.errors import InvalidRequest

OFFERED = ["application/json", "image/png", "image/jpeg", "text/event-stream"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        (" ", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/*", "image/png"),
        ("image/jpeg, image/png", "image/png"),
        ("image/jpeg;q=0.9, image/png;q=0.8", "image/jpeg"),
        ("image/png;q=0, image/*", "image/jpeg"),
        ("image/*;q=0.5, application/json;q=0.4", "image/png"),
        ("*/*;q=0.1, text/event-stream", "text/event-stream"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
        ("image/avif, image/webp, image/jpeg;q=0.2", "image/jpeg"),
        ("image/png ; q=0.3 , image/jpeg ; q=0.4", "image/jpeg"),
        ("image/png;q=5", "image/png"),
        ("text/html", None),
        ("image/gif, text/html", None),
        ("image/png;q=0", None),
        ("image/png;q=nan", None),
        ("image/png;q=high", None),
        ("*/*;q=0", None),
        (",,;;", None),
    ],
)
def test_the_most_wanted_of_what_is_offered_is_given(accept: str, kind: str | None) -> None:
    assert negotiation.best(accept, OFFERED) == kind


def test_what_is_acceptable_is_told_when_nothing_fits() -> None:
    with pytest.raises(InvalidRequest) as refused:
        negotiation.choose("text/html", OFFERED)
    [fault] = refused.value.errors
    assert (fault.field, fault.allowed) == ("Accept", OFFERED)


@given(accept=st.text() | st.text(alphabet="imagepn/*;q=0.15, "))
def test_no_header_breaks_it(accept: str) -> None:
    assert negotiation.best(accept, OFFERED) in (*OFFERED, None)
