"""Write a proposal as a `mode.toml` that people like to read and change."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from workflows.proposing.proposal import Proposal

GRAPH_FILE = "graph.json"
_INTRODUCTION = """\
# {name}: made from a ComfyUI workflow by `./startup.sh modes add`. Change it as you like:
# `./startup.sh modes check {name}` tells every mistake, docs/workflows.md every key.
"""
_PARAMETERS = (
    "\n# What callers may send; remove a table and its line under `bind`, and it stays fixed."
)
_BIND = '\n[graphs.main.bind]             # value = "Node title.input", or a list of several'
_STYLE = """
[styles.standard]
title = "Standard"
graph = "main"
"""
_SETTINGS = """\
# As the workflow has them. To let callers choose one, add a table for it above:
# [parameters.steps]
# type = "integer"
# minimum = 1
# maximum = 50
# title = "Steps"
[styles.standard.settings]"""


def mode_toml(
    name: str,
    proposal: Proposal,
    *,
    title: Mapping[str, str],
    description: Mapping[str, str],
    model: str,
    files: tuple[str, ...],
    least_comfyui: str = "",
) -> str:
    """Return the text of the mode's `mode.toml`; texts for people by language."""
    lines = _lines(name, proposal, title, description, model, files, least_comfyui)
    return "\n".join(lines) + "\n"


def _lines(
    name: str,
    proposal: Proposal,
    title: Mapping[str, str],
    description: Mapping[str, str],
    model: str,
    files: tuple[str, ...],
    least_comfyui: str,
) -> Iterator[str]:
    yield _INTRODUCTION.format(name=name)
    yield "order = 100                # its position among the modes"
    yield 'default_style = "standard"'
    if least_comfyui:
        yield f"least_comfyui = {_value(least_comfyui)}   # as its template says"
    yield from _for_people("title", title)
    yield from _for_people("description", description)
    yield _PARAMETERS
    if not proposal.parameters:
        yield "[parameters]"
    for parameter, table in proposal.parameters.items():
        yield f"[parameters.{parameter}]"
        yield from (f"{key} = {_value(value)}" for key, value in table.items())
        yield ""
    yield "[graphs.main]"
    yield f"file = {_value(GRAPH_FILE)}"
    yield f"model = {_value(model)}   # graphs with the same name share a model on the GPU"
    if files:
        yield f"files = {_value(list(files))}   # ids in the lists of models"
    if proposal.sizes:
        yield f"multiple_of = {proposal.multiple_of}"
        sizes = {ratio: list(size) for ratio, size in proposal.sizes.items()}
        yield f"sizes = {_value(sizes)}   # the first is the default"
    if proposal.alpha:
        yield "alpha = true   # its pictures have transparent parts"
    yield _BIND
    for value, targets in proposal.bind.items():
        yield f"{value} = {_value(targets[0] if len(targets) == 1 else targets)}"
    yield _STYLE
    if proposal.settings:
        yield _SETTINGS
        yield from (f"{key} = {_value(value)}" for key, value in proposal.settings.items())


def _for_people(name: str, texts: Mapping[str, str]) -> Iterator[str]:
    """Yield a text in each of its languages, a line each."""
    if texts:
        yield f"\n[{name}]"
        yield from (f"{_key(language)} = {_value(text)}" for language, text in texts.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(v)}" for key, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):  # TOML's strings are those of JSON, but for two kinds of letters
        clean = value.encode(errors="replace").decode()
        return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007F")
    return json.dumps(value)


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() and key.isascii() else _value(key)
