"""Decide whether a prompt may be drawn."""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Self

from policy.folding import fold, folding_table
from policy.lexicon import Lexicon
from policy.rules import Rule
from policy.text import Span, Text

_MINOR = "minor"
_ADULT_AGE = 18
_AGE = re.compile(  # matches folded text, where й is и
    r"(?<!\w)(?:(?:aged?|who(?:s|\W{1,2}is)|s?he(?:s|\W{1,2}is)|girl|boy|еи|ему|девушк\w+|возраст\w*)"
    r"\W{1,3}(?P<after>\d{1,2})(?![\w:/%])"
    r"|(?P<before>\d{1,2})\W{0,2}(?:yo|yrs?|years?\W{0,2}(?:old|young)|y\W?o|y\W?old"
    r"|лет(?!\s+назад)|года?(?!\s+назад)|(?:ти\W?|и\W?)?летн\w*|годовал\w*)(?!\w))"
)


@dataclass(frozen=True)
class Refusal:
    """Why a prompt is refused: a stable category, and the rule's id for counting only."""

    category: str
    rule: str

    def title(self, language: str) -> str:
        """Return the category's name for people in "en" or "ru"; other languages get English."""
        names = _categories()[self.category]
        return names.get(language, names["en"])


@dataclass(frozen=True, eq=False)
class Policy:
    """The rules of the packaged TOML files; pure, and safe to share between threads."""

    _lexicon: Lexicon
    _rules: Sequence[Rule]
    _table: Mapping[int, str]

    @classmethod
    def load(cls) -> Self:
        """Read and check the packaged rules; raise ValueError for a mistake in them."""
        words, harmless = _read("words.toml"), _read("harmless.toml")
        table = folding_table(words["emoji"])
        sets = {name: "|".join(entries) for name, entries in words["set"].items()}

        def spelled(entries: Iterable[str]) -> list[str]:
            return [fold(entry.format_map(sets), table) for entry in entries]

        concepts = {
            name: [entry for entries in languages.values() for entry in spelled(entries)]
            for name, languages in words["concept"].items()
        }
        rules = [Rule.parse(rule) for rule in _read("rules.toml")["rule"]]
        _check(rules, set(concepts) | {_MINOR})
        passes = [entry for entries in harmless["passes"].values() for entry in spelled(entries)]
        lexicon = Lexicon(concepts, passes, spelled(harmless["function_words"]))
        return cls(lexicon, rules, table)

    def check(
        self, prompt: str, negative_prompt: str = "", *, photo: bool = False
    ) -> Refusal | None:
        """Return why this must not be drawn, or None; `photo` means that a photo is redrawn."""
        texts = {"prompt": self._read_text(prompt), "negative": self._read_text(negative_prompt)}
        in_prompt = texts["prompt"][1]
        for rule in self._rules:
            text, spans = texts[rule.reads]
            if spans and rule.photo in {None, photo} and rule.applies(text, spans, in_prompt):
                return Refusal(rule.category, rule.id)
        return None

    def _read_text(self, written: str) -> tuple[Text, dict[str, list[Span]]]:
        folded = fold(written, self._table)
        text = Text(folded)
        spans = self._lexicon.find(text)
        ages = [int(match["after"] or match["before"]) for match in _AGE.finditer(folded)]
        if any(age < _ADULT_AGE for age in ages):
            everywhere = Span(0, -1)
            spans[_MINOR] = [*spans.get(_MINOR, ()), everywhere]
        return text, spans


def _check(rules: Sequence[Rule], concepts: set[str]) -> None:
    for rule in rules:
        if unknown := rule.concepts - concepts:
            raise ValueError(f"rules.toml: rule {rule.id} names unknown concepts {sorted(unknown)}")
        if rule.category not in _categories():
            raise ValueError(f"rules.toml: rule {rule.id} has unknown category {rule.category!r}")
    ids = [rule.id for rule in rules]
    if len(ids) != len(set(ids)):
        raise ValueError("rules.toml: two rules share an id; counting needs one each")


@cache
def _categories() -> dict[str, dict[str, str]]:
    categories: dict[str, dict[str, str]] = _read("rules.toml")["category"]
    return categories


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(files("policy").joinpath(name).read_text("utf-8"))
