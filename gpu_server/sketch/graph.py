"""Questions about a graph: what links to what, in which order it runs, what is its content."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpu_server.sketch.jobs import Graph


def source_of(value: Any, prompt: Graph) -> str | None:
    """The node that an input links to; None for a plain value or a link to nowhere."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return value[0] if value[0] in prompt else None
    return None


def signatures(prompt: Graph, changes: Callable[[dict[str, Any]], Any]) -> dict[str, str]:
    """A digest for each node of everything its output depends on, node ids left out.

    `changes` gives what counts as content of a node beyond its inputs (ComfyUI's IS_CHANGED).
    Raises KeyError, AttributeError or RecursionError for ill-formed or very deep graphs.
    """
    known: dict[str, str] = {}

    def sign(node_id: str, above: frozenset[str]) -> str:
        if node_id in known:
            return known[node_id]
        if node_id in above:
            return "cycle"
        node = prompt[node_id]
        inputs: dict[str, Any] = {}
        for name, value in sorted(node["inputs"].items()):
            source = source_of(value, prompt)
            if source is None:
                inputs[name] = value
            else:
                inputs[name] = {"link": [sign(source, above | {node_id}), value[1]]}
        parts = [node["class_type"], inputs, changes(node)]
        known[node_id] = hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
        return known[node_id]

    for node_id in prompt:
        sign(node_id, frozenset())
    return known


def execution_order(
    prompt: Graph,
    outputs: Sequence[str],
    is_cached: Callable[[str], bool],
    is_output: Callable[[str], bool],
) -> list[str]:
    """The order in which ComfyUI runs the nodes that the outputs need.

    Of the nodes that are ready it takes an output first, then one that leads to an output in one
    or two steps, then the one found first (outputs are searched depth first, last input first).
    """
    waiting: dict[str, set[str]] = {}
    leads_to: dict[str, list[str]] = {}
    for output in outputs:
        stack = [output]
        while stack:
            node_id = stack.pop()
            if node_id in waiting:
                continue
            sources = [
                source
                for value in prompt[node_id]["inputs"].values()
                if (source := source_of(value, prompt)) is not None and not is_cached(source)
            ]
            waiting[node_id] = set(sources)
            leads_to.setdefault(node_id, [])
            for source in sources:
                leads_to.setdefault(source, []).append(node_id)
            stack += sources
    order = []
    while waiting:
        ready = [node_id for node_id, sources in waiting.items() if not sources]
        chosen = min(ready, key=lambda node_id: _distance(node_id, leads_to, is_output))
        order.append(chosen)
        del waiting[chosen]
        for follower in leads_to[chosen]:
            waiting[follower].discard(chosen)
    return order


def _distance(
    node_id: str, leads_to: Mapping[str, list[str]], is_output: Callable[[str], bool]
) -> float:
    """Steps from a node to the nearest output, infinite from three steps on."""
    nodes = [node_id]
    for distance in range(3):
        if any(is_output(node) for node in nodes):
            return distance
        nodes = [follower for node in nodes for follower in leads_to[node]]
    return math.inf
