"""What a graph leaves open: several candidates for one thing, of which one is taken."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """Which of several candidates to take; the first is the proposal."""

    about: str
    candidates: Sequence[str]
    """A line for people about each."""


Choose = Callable[[Question], int]
"""Answers a question with the number of a candidate, from 0."""


def take_first(_question: Question) -> int:
    return 0
