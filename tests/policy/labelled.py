"""The labelled prompts of the TOML files beside this one."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Labelled:
    prompt: str
    negative: str
    photo: bool
    category: str | None  # None: harmless


def read(name: str) -> list[Labelled]:
    groups = tomllib.loads((Path(__file__).parent / name).read_text("utf-8"))
    return [
        Labelled(prompt, negative, group.get("photo", False), group.get("category"))
        for group in (*groups["harmful"], *groups["harmless"])
        for prompt, negative in _prompts(group)
    ]


def _prompts(group: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for prompt in group.get("prompts", ()):
        yield prompt, ""
    for prompt, negative in group.get("negative", ()):
        yield prompt, negative
