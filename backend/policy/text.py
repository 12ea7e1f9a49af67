"""A folded text as tokens and the gaps between them."""

import re
from itertools import accumulate
from typing import NamedTuple

_TOKEN = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"(?<=[^\W_])['’`]s\b")
# A harmless phrase is one: "nude, lipstick" is not "nude lipstick".
_WITHIN_PHRASE = re.compile(r"[\s\-_/'’`\"«»“”*~]*")
_CLAUSE_END = re.compile(r"[,;:!?\n]|^\.\s")
PLAIN_GAPS = frozenset({"", " ", ", ", ". "})  # what stands between words as a rule


class Span(NamedTuple):
    """A listed word or phrase in a text: indices of its first and last token."""

    first: int
    last: int

    def to(self, other: "Span") -> "Span":
        return Span(min(self.first, other.first), max(self.last, other.last))


class Text:
    """Folded text cut into tokens; distances are counted in letters, whatever separates them."""

    def __init__(self, folded: str) -> None:
        self.folded = _POSSESSIVE.sub(" ", folded)
        matches = list(_TOKEN.finditer(self.folded))
        self.tokens = [match[0] for match in matches]
        starts = [match.start() for match in matches]
        ends = [match.end() for match in matches]
        edges = zip([0, *ends], [*starts, len(self.folded)], strict=True)
        self.gaps = [self.folded[left:right] for left, right in edges]
        self.spaced = [gap in PLAIN_GAPS or any(map(str.isspace, gap)) for gap in self.gaps]
        self._letters = [0, *accumulate(len(token) for token in self.tokens)]

    def distance(self, one: Span, other: Span) -> int:
        """Return the letters between two spans; negative where they overlap."""
        left, right = sorted((one, other))
        if right.first <= left.last:
            return -1
        return self._letters[right.first] - self._letters[left.last + 1]

    def is_one_phrase(self, span: Span) -> bool:
        """Whether nothing but spaces, hyphens and quotes stands between the span's words."""
        return all(_WITHIN_PHRASE.fullmatch(gap) for gap in self._inside(span))

    def is_one_clause(self, span: Span) -> bool:
        return not any(_CLAUSE_END.search(gap) for gap in self._inside(span))

    def _inside(self, span: Span) -> list[str]:
        return self.gaps[span.first + 1 : span.last + 1]
