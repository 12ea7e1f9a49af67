"""Rules, read from rules.toml: which concepts together make Easel refuse a prompt."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from policy.text import Span, Text

# How many spans to check on either side for a near one; a word may have several overlapping.
_NEIGHBOURS = 4


@dataclass(frozen=True)
class Rule:
    """Refuse when all groups of concepts are present, near enough to the first, in any order."""

    id: str
    category: str
    all: tuple[tuple[str, ...], ...]
    within: int | None = None  # letters between groups; None: anywhere in the text
    clause: bool = False  # also require no comma or full stop in between
    unless: tuple[str, ...] = ()  # concepts that excuse it, anywhere in the text
    reads: Literal["prompt", "negative"] = "prompt"
    with_prompt: tuple[str, ...] = ()  # for a negative rule: one of these must be in the prompt
    photo: bool | None = None  # True: photos only, False: text only, None: both

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> Self:
        fields = dict(table)
        groups = fields.pop("all")
        fields["all"] = tuple(tuple(g) if isinstance(g, list) else (g,) for g in groups)
        for name in ("unless", "with_prompt"):
            fields[name] = tuple(fields.get(name, ()))
        return cls(**fields)

    @property
    def concepts(self) -> set[str]:
        """Every concept the rule names."""
        return {name for group in self.all for name in group}.union(self.unless, self.with_prompt)

    def applies(
        self,
        text: Text,
        spans: Mapping[str, Sequence[Span]],
        in_prompt: Mapping[str, Sequence[Span]],
    ) -> bool:
        """Whether `text`, where the concepts are at `spans`, breaks this rule."""
        if any(spans.keys().isdisjoint(group) for group in self.all):
            return False
        if not spans.keys().isdisjoint(self.unless):
            return False
        if self.with_prompt and in_prompt.keys().isdisjoint(self.with_prompt):
            return False
        groups = [
            sorted(span for name in group for span in spans.get(name, ())) for group in self.all
        ]
        first, *others = groups
        return not others or any(
            all(self._near(text, span, other) for other in others) for span in first
        )

    def _near(self, text: Text, span: Span, others: Sequence[Span]) -> bool:
        if self.within is None:
            return any(other != span for other in others[:2])
        at = bisect_left(others, span)
        around = others[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS]
        return any(
            0 <= text.distance(span, other) <= self.within
            and not (self.clause and not text.is_one_clause(span.to(other)))
            for other in around
        )
