"""Find the listed words in a text, including disguised ones, in linear time."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from policy.folding import SYMBOLS, letter_readings
from policy.text import PLAIN_GAPS, Cover, Span, Text

_ADJECTIVE_ENDINGS = "ый ий ой ая яя ое ее ые ие ого его ому ему ую юю ым им ом ем ых их ыми ими ою"
# A word split by a space may continue for this many letters after the listed stem.
_REST_AFTER_SPACE = 2
# A spelled-out stem may continue for this many tokens: s-t-e-m-e-n-d-i-n-g.
_REST_IN_TOKENS = 5
_SYMBOLS = tuple(SYMBOLS)
_MASKS = frozenset("*#%")  # one of these inside a word hides one of its letters
_MAX_MASKED = 1  # hidden letters in a word
_MAX_TOKEN = 64  # letters; a longer token is not a listed word, but may begin with a stem
_CACHED_TOKENS = 16_384
_TOKENS_PER_LETTER = 2  # a word of n letters spans at most n times this many tokens
_MAX_WORD = 24  # letters read for one word, repetitions included


class _Word(NamedTuple):
    id: int
    last: int  # token
    stretched: bool = False  # a stem whose ending is in further tokens: s-t-e-m-ending
    guessed: bool = False  # has a hidden letter: may cause a refusal, not excuse one


@dataclass(slots=True)
class _Node:
    letter: str
    depth: int = 0
    children: dict[str, "_Node"] = field(default_factory=dict)
    # character in the text → nodes it leads to, lookalikes and repeated letters included
    moves: dict[str, tuple["_Node", ...]] = field(default_factory=dict)
    whole: list[int] = field(default_factory=list)
    stem: list[int] = field(default_factory=list)


_Nodes: TypeAlias = tuple[_Node, ...]
_Reading: TypeAlias = tuple[_Nodes, frozenset[int]]  # nodes at the end, stems on the way


class Lexicon:
    """Word lists as a trie. Entries: `word`, `stem*`, `прилаг~`, `a|b c`; see README."""

    def __init__(
        self,
        concepts: Mapping[str, Iterable[str]],
        harmless: Iterable[str],
        function_words: Iterable[str],
    ) -> None:
        self._root = _Node("")
        self._words: dict[str, int] = {}
        self._numbers: dict[str, set[int]] = defaultdict(set)
        self._function_words = frozenset(function_words)
        # first word → [(the words after it, the concept or None for harmless)]
        self._phrases: dict[int, list[tuple[tuple[int, ...], str | None]]] = defaultdict(list)
        for concept, entries in concepts.items():
            for entry in entries:
                self._add(entry, concept)
        for entry in harmless:
            self._add(entry, None)
        self._connect(self._root, _characters_by_letter())
        # Prompts share a vocabulary, so most words are read only once per process.
        self._opening = lru_cache(_CACHED_TOKENS)(self._read_opening)

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
        if word.isdigit():
            self._numbers[word].add(word_id)
        elif word.endswith("~"):
            for ending in _ADJECTIVE_ENDINGS.replace("й", "и").split():
                self._node(word[:-1] + ending).whole.append(word_id)
        elif word.endswith("*"):
            self._node(word[:-1]).stem.append(word_id)
        else:
            self._node(word).whole.append(word_id)

    def _node(self, letters: str) -> _Node:
        node = self._root
        for letter in letters:
            if letter not in node.children:
                node.children[letter] = _Node(letter, node.depth + 1)
            node = node.children[letter]
        return node

    def _connect(self, node: _Node, characters: Mapping[str, Sequence[str]]) -> None:
        moves: dict[str, list[_Node]] = defaultdict(list)
        for target in (*node.children.values(), node):
            for character in characters.get(target.letter, ()):
                moves[character].append(target)
        node.moves = {character: tuple(targets) for character, targets in moves.items()}
        for child in node.children.values():
            self._connect(child, characters)

    def find(self, text: Text) -> dict[str, list[Span]]:
        """Return the sorted spans of each concept in `text`, except inside harmless phrases."""
        words: dict[int, list[_Word]] = defaultdict(list)
        for first in range(len(text.tokens)):
            if starting := self._words_at(text, first):
                words[first] = starting
        hits: dict[str, set[Span]] = defaultdict(set)
        harmless: set[Span] = set()
        for first, starting in words.items():
            for word in starting:
                for rest, concept in self._phrases.get(word.id, ()):
                    for end in _ends(words, word, rest, excusing=concept is None):
                        span = Span(first, end)
                        if concept is not None:
                            hits[concept].add(span)
                        elif text.is_one_phrase(span):
                            harmless.add(span)
        covered = Cover(harmless)
        kept = {name: sorted(s for s in spans if s not in covered) for name, spans in hits.items()}
        return {name: spans for name, spans in kept.items() if spans}

    def _words_at(self, text: Text, first: int) -> list[_Word]:
        """Return `_words_from`, but skip its walk if the word clearly ends with its token."""
        nodes, stems, whole = self._opening(text.tokens[first][:_MAX_TOKEN])
        if text.gaps[first] in PLAIN_GAPS and text.gaps[first + 1] in PLAIN_GAPS:
            if not (nodes or stems or whole):
                return []
            following = text.tokens[first + 1][0] if first + 1 < len(text.tokens) else ""
            if all(following not in node.moves for node in nodes):
                return [_Word(word_id, first) for word_id in whole]
        return list(set(self._words_from(text, first)))

    def _words_from(self, text: Text, first: int) -> Iterator[_Word]:
        """Yield each listed word that begins at token `first`."""
        nodes, new_stems = self._start(text, first)
        stems: frozenset[int] = frozenset()
        length, spaced, masked, rest_until = len(text.tokens[first]), False, 0, first
        for index in range(first, len(text.tokens)):
            if index > first:
                left, right = text.tokens[index - 1], text.tokens[index]
                if text.is_spaced(index):
                    if not self._joins(left, right):
                        return
                    spaced = True
                    stems = stems if len(left) == len(right) == 1 else frozenset()
                else:
                    gap = text.gaps[index]
                    masked += gap in _MASKS
                    hidden = gap in _MASKS and masked <= _MAX_MASKED
                    nodes += _any_next(nodes) if hidden else self._through_symbols(nodes, gap)
                rest = _REST_AFTER_SPACE if spaced else None
                nodes, new_stems = self._through_token(nodes, right, rest)
                nodes = _far_enough(nodes, index - first)
                length += len(right)
            if not (nodes or stems or new_stems):
                return
            for word_id in self._ending(text, first, index, nodes, new_stems):
                yield _Word(word_id, index, guessed=masked > 0)
            yield from (_Word(word_id, index, stretched=True) for word_id in stems)
            if new_stems:
                stems, rest_until = stems | new_stems, index + _REST_IN_TOKENS
            elif index >= rest_until:
                stems = frozenset()
            if length > _MAX_WORD:
                return

    def _start(self, text: Text, first: int) -> _Reading:
        nodes, stems, _ = self._opening(text.tokens[first][:_MAX_TOKEN])
        if not text.gaps[first].endswith(_SYMBOLS):
            return nodes, stems
        start = self._through_symbols((self._root,), _trailing(text.gaps[first]))
        more_nodes, more_stems = self._through_token(start, text.tokens[first], None)
        return nodes + more_nodes, stems | more_stems

    def _ending(
        self, text: Text, first: int, index: int, nodes: _Nodes, stems: frozenset[int]
    ) -> frozenset[int]:
        """Return the words that end with token `index`; a lone number only if listed as such."""
        if first == index and _is_number(text.tokens[index]):
            return self._number(text.tokens[index])
        if text.gaps[index + 1].startswith(_SYMBOLS):
            nodes += self._through_symbols(nodes, _leading(text.gaps[index + 1]))
        if first == index:
            stems |= self._number(text.tokens[index])
        return stems.union(*[node.whole for node in nodes])

    @staticmethod
    def _through_token(nodes: _Nodes, token: str, rest: int | None) -> _Reading:
        """Read a token's letters; return the nodes at its end and the stems passed on the way.

        With `rest`, a stem counts only if at most that many letters of the token follow it.
        """
        stems: set[int] = set()
        for position, letter in enumerate(token, 1):
            nodes = _step(nodes, letter)
            if not nodes:
                break
            if rest is None or len(token) - position <= rest:
                for node in nodes:
                    if node.stem:
                        stems.update(node.stem)
        return nodes, frozenset(stems)

    def _read_opening(self, token: str) -> tuple[_Nodes, frozenset[int], frozenset[int]]:
        """Read a token from the root; return nodes, stems and all words that end with it."""
        nodes, stems = self._through_token((self._root,), token, None)
        if _is_number(token):
            return nodes, stems, self._number(token)
        whole = stems.union(*(node.whole for node in nodes))
        return nodes, stems, whole | self._number(token)

    def _number(self, token: str) -> frozenset[int]:
        return frozenset(self._numbers.get(token, ()))

    def _joins(self, left: str, right: str) -> bool:
        """Whether a space between two tokens may be inside one word."""
        if len(left) == 1 and len(right) == 1:
            return True
        return not (self._is_ordinary(left) or self._is_ordinary(right))

    def _is_ordinary(self, token: str) -> bool:
        return token in self._function_words or token.isdigit()

    @staticmethod
    def _through_symbols(nodes: _Nodes, gap: str) -> _Nodes:
        """Read the symbols of `gap` as letters ($ as s); without symbols, return no nodes."""
        symbols = [character for character in gap if character in SYMBOLS][:_MAX_WORD]
        for symbol in symbols:
            nodes = _step(nodes, symbol)
        return nodes if symbols else ()


def _any_next(nodes: _Nodes) -> _Nodes:
    return tuple(child for node in nodes for child in node.children.values())


def _far_enough(nodes: _Nodes, tokens: int) -> _Nodes:
    """Drop nodes that would read "s s s s" as one s: letters repeat only within tokens."""
    least = tokens / _TOKENS_PER_LETTER
    if all(node.depth > least for node in nodes):
        return nodes
    return tuple(node for node in nodes if node.depth > least)


def _step(nodes: _Nodes, character: str) -> _Nodes:
    if len(nodes) == 1:
        return nodes[0].moves.get(character, ())
    following = {id(to): to for node in nodes for to in node.moves.get(character, ())}
    return tuple(following.values())


def _characters_by_letter() -> dict[str, list[str]]:
    characters: dict[str, list[str]] = defaultdict(list)
    for character, letters in (letter_readings() | SYMBOLS).items():
        for letter in letters:
            characters[letter].append(character)
    return characters


def _is_number(token: str) -> bool:
    """Whether the token is a number, not digits for letters; one digit alone may be a letter."""
    return token.isdigit() and len(token) > 1


def _leading(gap: str) -> str:
    return gap[: len(gap) - len(gap.lstrip("".join(_SYMBOLS)))]


def _trailing(gap: str) -> str:
    return gap[len(gap.rstrip("".join(_SYMBOLS))) :]


def _ends(
    words: Mapping[int, list[_Word]], word: _Word, rest: tuple[int, ...], *, excusing: bool
) -> Iterator[int]:
    """Yield the last tokens of a phrase that begins with `word` and continues with `rest`."""
    if word.guessed and excusing:
        return
    if not rest:
        if not word.stretched:
            yield word.last
        return
    if word.stretched and excusing:
        return
    for following in words.get(word.last + 1, ()):
        if following.id == rest[0]:
            yield from _ends(words, following, rest[1:], excusing=excusing)
