"""Propose how an imported graph becomes a mode: by node class and link, never by position. Pure.

`propose` finds what callers may set and where it goes in the graph; `mode_toml` writes it down.
"""

from workflows.proposing.proposal import Proposal, propose
from workflows.proposing.questions import Choose, Question, take_first
from workflows.proposing.writing import mode_toml

__all__ = ["Choose", "Proposal", "Question", "mode_toml", "propose", "take_first"]
