"""Finds the words of the lists in a text, also where they are disguised, in linear time."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from backend.policy.folding import SYMBOLS, letter_readings

_TOKEN = re.compile(r"[^\W_]+")
_POSSESSIVE = re.compile(r"(?<=[^\W_])['’`]s\b")
# A harmless phrase is one: "nude, lipstick" is not "nude lipstick".
_WITHIN_PHRASE = re.compile(r"[\s\-_/'’`\"«»“”*~]*")
_CLAUSE_END = re.compile(r"[,;:!?\n]|^\.\s")
_ADJECTIVE_ENDINGS = "ый ий ой ая яя ое ее ые ие ого его ому ему ую юю ым им ом ем ых их ыми ими ою"
# A word cut in two by a space may go on for this many letters after the listed stem.
_REST_AFTER_SPACE = 2
_SYMBOLS = "".join(SYMBOLS)
_LONGEST = 40  # characters; no listed word is longer, even with every letter tripled


class Span(NamedTuple):
    """A listed word or phrase in a text: indices of its first and last token."""

    first: int
    last: int

    def to(self, other: "Span") -> "Span":
        return Span(min(self.first, other.first), max(self.last, other.last))


class _Word(NamedTuple):
    id: int
    last: int  # token
    stretched: bool  # a stem whose ending lies in further tokens: s-t-e-m-ending


@dataclass(slots=True)
class _Node:
    letter: str
    children: dict[str, "_Node"] = field(default_factory=dict)
    whole: list[int] = field(default_factory=list)
    stem: list[int] = field(default_factory=list)


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


class Lexicon:
    """Word lists compiled to a trie. Entries: `word`, `stem*`, `прилаг~`, `a|b c`; see README."""

    def __init__(
        self,
        concepts: Mapping[str, Iterable[str]],
        harmless: Iterable[str],
        function_words: Iterable[str],
    ) -> None:
        self._root = _Node("")
        self._readings = letter_readings()
        self._words: dict[str, int] = {}
        self._function_words = frozenset(function_words)
        # first word -> [(the words after it, the concept or None for harmless)]
        self._phrases: dict[int, list[tuple[tuple[int, ...], str | None]]] = defaultdict(list)
        for concept, entries in concepts.items():
            for entry in entries:
                self._add(entry, concept)
        for entry in harmless:
            self._add(entry, None)

    def _add(self, entry: str, concept: str | None) -> None:
        first, *rest = (self._word_id(slot) for slot in entry.split())
        self._phrases[first].append((tuple(rest), concept))

    def _word_id(self, slot: str) -> int:
        if slot not in self._words:
            word_id = self._words[slot] = len(self._words)
            for word in slot.split("|"):
                self._add_word(word, word_id)
        return self._words[slot]

    def _add_word(self, word: str, word_id: int) -> None:
        if word.endswith("~"):
            for ending in _ADJECTIVE_ENDINGS.replace("й", "и").split():
                self._node(word[:-1] + ending).whole.append(word_id)
        elif word.endswith("*"):
            self._node(word[:-1]).stem.append(word_id)
        else:
            self._node(word).whole.append(word_id)

    def _node(self, letters: str) -> _Node:
        node = self._root
        for letter in letters:
            node = node.children.setdefault(letter, _Node(letter))
        return node

    def find(self, text: Text) -> dict[str, list[Span]]:
        """Return where each concept occurs in `text`, harmless phrases left out; sorted."""
        words: dict[int, list[_Word]] = defaultdict(list)
        for first in range(len(text.tokens)):
            words[first].extend(set(self._words_from(text, first)))
        found: dict[str, set[Span]] = defaultdict(set)
        harmless: set[Span] = set()
        for first, starts in words.items():
            for word in starts:
                for rest, concept in self._phrases.get(word.id, ()):
                    for end in _ends(words, word, rest, stretch=concept is not None):
                        span = Span(first, end)
                        if concept is not None:
                            found[concept].add(span)
                        elif text.is_one_phrase(span):
                            harmless.add(span)
        covered = _Cover(harmless)
        kept = {name: sorted(s for s in spans if s not in covered) for name, spans in found.items()}
        return {name: spans for name, spans in kept.items() if spans}

    def _words_from(self, text: Text, first: int) -> Iterator["_Word"]:
        """Yield each listed word that begins at token `first`."""
        nodes = [self._root, *self._through_symbols([self._root], _trailing(text.gaps[first]))]
        stems: set[int] = set()
        length, spaced = 0, False
        for index in range(first, len(text.tokens)):
            token = text.tokens[index]
            if index > first:
                gap = text.gaps[index]
                if any(map(str.isspace, gap)):
                    if not self._joins(text.tokens[index - 1], token):
                        return
                    if len(text.tokens[index - 1]) > 1 or len(token) > 1:
                        stems.clear()
                    spaced = True
                else:
                    nodes = [*nodes, *self._through_symbols(nodes, gap)]
            nodes, found = self._through_token(nodes, token, _REST_AFTER_SPACE if spaced else None)
            if not (nodes or stems or found):
                return
            if index > first or not token.isdigit():
                ends = [*nodes, *self._through_symbols(nodes, _leading(text.gaps[index + 1]))]
                for word_id in found.union(*(node.whole for node in ends)):
                    yield _Word(word_id, index, False)
                for word_id in stems:
                    yield _Word(word_id, index, True)
            stems |= found
            length += len(token)
            if length > _LONGEST:
                return

    def _through_token(
        self, nodes: list[_Node], token: str, rest: int | None
    ) -> tuple[list[_Node], set[int]]:
        """Read a token's letters; return the nodes at its end and the stems met on the way.

        `rest`: a stem counts only when at most so many letters of the token follow it.
        """
        stems: set[int] = set()
        for position, letter in enumerate(token, 1):
            nodes = self._step(nodes, self._readings.get(letter, letter))
            if not nodes:
                break
            if rest is None or len(token) - position <= rest:
                stems.update(*(node.stem for node in nodes))
        return nodes, stems

    def _joins(self, left: str, right: str) -> bool:
        """Whether a space between two tokens may have been put inside one word."""
        if len(left) == 1 and len(right) == 1:
            return True
        return not (self._is_ordinary(left) or self._is_ordinary(right))

    def _is_ordinary(self, token: str) -> bool:
        return token in self._function_words or token.isdigit()

    @staticmethod
    def _step(nodes: list[_Node], letters: str) -> list[_Node]:
        following: dict[int, _Node] = {}
        for node in nodes:
            for letter in letters:
                child = node.children.get(letter)
                if child is not None:
                    following[id(child)] = child
            if node.letter and node.letter in letters:  # a repeated letter
                following[id(node)] = node
        return list(following.values())

    def _through_symbols(self, nodes: list[_Node], gap: str) -> list[_Node]:
        """Read the symbols of `gap` as letters ($ as s); [] where there are none."""
        symbols = [character for character in gap if character in SYMBOLS][:_LONGEST]
        for symbol in symbols:
            nodes = self._step(nodes, SYMBOLS[symbol])
        return nodes if symbols else []


def _leading(gap: str) -> str:
    return gap[: len(gap) - len(gap.lstrip(_SYMBOLS))]


def _trailing(gap: str) -> str:
    return gap[len(gap.rstrip(_SYMBOLS)) :]


def _ends(
    words: Mapping[int, list[_Word]], word: _Word, rest: tuple[int, ...], *, stretch: bool
) -> Iterator[int]:
    """Yield the last tokens of a phrase that begins with `word` and goes on with `rest`."""
    if not rest:
        if not word.stretched:
            yield word.last
        return
    if word.stretched and not stretch:
        return
    for following in words.get(word.last + 1, ()):
        if following.id == rest[0]:
            yield from _ends(words, following, rest[1:], stretch=stretch)


class _Cover:
    """Whether a span lies within one of some other spans."""

    def __init__(self, spans: Iterable[Span]) -> None:
        widest: dict[int, int] = {}
        for span in spans:
            widest[span.first] = max(span.last, widest.get(span.first, -1))
        self._firsts = sorted(widest)
        self._lasts = list(accumulate((widest[first] for first in self._firsts), max))

    def __contains__(self, span: Span) -> bool:
        at = bisect_left(self._firsts, span.first + 1) - 1
        return at >= 0 and self._lasts[at] >= span.last
