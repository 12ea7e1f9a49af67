"""A folded text as tokens and the gaps between them."""

import re
from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

_TOKEN = re.compile(r"([^\W_]+)")
_QUOTES = frozenset("'’`")
_POSSESSIVE = re.compile(r"(?<=[^\W_])['’`]s\b")
# What may separate the words of one phrase: "nude, lipstick" is not "nude lipstick".
_WITHIN_PHRASE = re.compile(r"[\s\-_/'’`\"«»“”*~]*")
_CLAUSE_END = re.compile(r"[,;:!?\n]|^\.\s")
PLAIN_GAPS = frozenset({"", " ", ", ", ". "})  # the usual separators between words


class Span(NamedTuple):
    """A listed word or phrase in a text: indices of its first and last token."""

    first: int
    last: int

    def to(self, other: "Span") -> "Span":
        return Span(min(self.first, other.first), max(self.last, other.last))


class Text:
    """Folded text split into tokens; distances count letters, ignoring what separates them."""

    def __init__(self, folded: str) -> None:
        if not _QUOTES.isdisjoint(folded):
            folded = _POSSESSIVE.sub(" ", folded)
        parts = _TOKEN.split(folded)
        self.gaps, self.tokens = parts[::2], parts[1::2]

    def is_spaced(self, index: int) -> bool:
        """Whether there is white space before token `index`."""
        return self.gaps[index] in PLAIN_GAPS or any(map(str.isspace, self.gaps[index]))

    @cached_property
    def _letters(self) -> list[int]:
        return [0, *accumulate(map(len, self.tokens))]

    def distance(self, one: Span, other: Span) -> int:
        """Return the number of letters between two spans; negative if they overlap."""
        left, right = sorted((one, other))
        if right.first <= left.last:
            return -1
        return self._letters[right.first] - self._letters[left.last + 1]

    def is_one_phrase(self, span: Span) -> bool:
        """Whether only spaces, hyphens and quotes separate the span's words."""
        return all(_WITHIN_PHRASE.fullmatch(gap) for gap in self._inside(span))

    def is_one_clause(self, span: Span) -> bool:
        return not any(_CLAUSE_END.search(gap) for gap in self._inside(span))

    def _inside(self, span: Span) -> list[str]:
        return self.gaps[span.first + 1 : span.last + 1]


class Cover:
    """A set of spans that answers whether another span lies within one of them."""

    def __init__(self, spans: Iterable[Span]) -> None:
        widest: dict[int, int] = {}
        for span in spans:
            widest[span.first] = max(span.last, widest.get(span.first, -1))
        self._firsts = sorted(widest)
        self._lasts = list(accumulate((widest[first] for first in self._firsts), max))

    def __contains__(self, span: Span) -> bool:
        at = bisect_left(self._firsts, span.first + 1) - 1
        return at >= 0 and self._lasts[at] >= span.last
