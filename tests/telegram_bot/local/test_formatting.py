"""HTML as Telegram reads it; offsets in UTF-16 units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telegram import Message

from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import Formatted, normalise, utf16_length, utf16_slice
from telegram_bot.local.formatting.html_markup import parse_html
from tests.telegram_bot.local.conftest import Json


def _spans(formatted: Formatted) -> list[tuple[str, str]]:
    return [
        (e["type"], utf16_slice(formatted.text, e["offset"], e["length"]))
        for e in normalise(formatted).entities
    ]


@pytest.mark.parametrize(
    ("source", "text", "spans"),
    [
        ("😀 <b>bold</b>", "😀 bold", [("bold", "bold")]),
        ("<b>a <i>b</i></b>", "a b", [("bold", "a b"), ("italic", "b")]),
        ("a &lt; b &amp; c &#33;", "a < b & c !", []),
        ('<a href="https://x.org/?a=1&amp;b=2">go</a>', "go", [("text_link", "go")]),
        ("<blockquote expandable>q</blockquote>", "q", [("expandable_blockquote", "q")]),
        ('<span class="tg-spoiler">s</span>', "s", [("spoiler", "s")]),
        ('<pre><code class="language-py">x = 1</code></pre>', "x = 1", [("pre", "x = 1")]),
        ("<b></b>nothing", "nothing", []),
        ("&copy; &", "&copy; &", []),
    ],
)
def test_html_is_parsed(source: str, text: str, spans: list[tuple[str, str]]) -> None:
    parsed = parse_html(source)
    assert parsed.text == text
    assert _spans(parsed) == spans


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("<p>x</p>", 'Unsupported start tag "p" at byte offset 0'),
        ("я <x>", 'Unsupported start tag "x" at byte offset 3'),
        ("a < b", 'Unsupported start tag "" at byte offset 2'),
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("<b>x</i>", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("<b", "Unclosed start tag at byte offset 0"),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
    ],
)
def test_invalid_html_is_refused(source: str, reason: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_html(source)
    assert refused.value.description == f"Bad Request: can't parse entities: {reason}"


_STYLES = ("bold", "italic", "underline", "strikethrough", "spoiler", "code")


@given(
    st.text(alphabet="ab <&>😀я", min_size=1, max_size=30).filter(str.strip),
    st.sampled_from(_STYLES),
    st.data(),
)
def test_html_from_the_library_parses_back_to_the_same_entities(
    text: str, style: str, data: st.DataObject
) -> None:
    text = text.strip()
    end = data.draw(st.integers(1, len(text)))
    start = data.draw(st.integers(0, end - 1))
    offset, length = utf16_length(text[:start]), utf16_length(text[start:end])
    entity: Json = {"type": style, "offset": offset, "length": length}
    raw = {"message_id": 1, "date": 1, "chat": {"id": 1, "type": "private"}}
    message = Message.de_json({**raw, "text": text, "entities": [entity]}, None)
    assert parse_html(message.text_html) == Formatted(text, [entity])


def test_commands_mentions_and_links_are_detected() -> None:
    spans = _spans(Formatted("/draw@easel_local_bot 😀 #fox @masha a@b.org see https://x.org/a."))
    assert spans == [
        ("bot_command", "/draw@easel_local_bot"),
        ("hashtag", "#fox"),
        ("mention", "@masha"),
        ("email", "a@b.org"),
        ("url", "https://x.org/a"),
    ]
    assert _spans(Formatted("1/2 and/or a@b")) == []


def test_a_code_block_keeps_its_language() -> None:
    [block] = parse_html('<pre><code class="language-py">x</code></pre>').entities
    assert block == {"type": "pre", "offset": 0, "length": 1, "language": "py"}


def test_text_is_trimmed_and_entities_move_along() -> None:
    bold = {"type": "bold", "offset": 2, "length": 3}
    assert normalise(Formatted("  one  ", [bold])) == Formatted(
        "one", [{"type": "bold", "offset": 0, "length": 3}]
    )
