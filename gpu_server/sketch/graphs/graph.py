"""Questions about a graph: its links, the order its nodes run in, a digest of its content."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Graph = dict[str, dict[str, Any]]
"""A ComfyUI graph in API format, by node id."""


def source_of(value: Any, graph: Graph) -> str | None:
    """Return the node an input links to; None for a plain value or a dangling link."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return value[0] if value[0] in graph else None
    return None


def signatures(graph: Graph, changes: Callable[[dict[str, Any]], Any]) -> dict[str, str]:
    """Digest, for each node, everything its output depends on except node ids.

    `changes` returns what counts as a node's content beyond its inputs (ComfyUI's IS_CHANGED).

    Raises:
        KeyError, AttributeError: The graph is ill-formed.
        RecursionError: The graph is very deep.
    """
    known: dict[str, str] = {}

    def sign(node_id: str, above: frozenset[str]) -> str:
        if node_id in known:
            return known[node_id]
        if node_id in above:
            return "cycle"
        node = graph[node_id]
        inputs: dict[str, Any] = {}
        for name, value in sorted(node["inputs"].items()):
            source = source_of(value, graph)
            if source is None:
                inputs[name] = value
            else:
                inputs[name] = {"link": [sign(source, above | {node_id}), value[1]]}
        parts = [node["class_type"], inputs, changes(node)]
        known[node_id] = hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()
        return known[node_id]

    for node_id in graph:
        sign(node_id, frozenset())
    return known


def execution_order(
    graph: Graph,
    outputs: Sequence[str],
    is_cached: Callable[[str], bool],
    is_output: Callable[[str], bool],
) -> list[str]:
    """Order the nodes that the outputs need as ComfyUI runs them.

    Among the ready nodes an output goes first, then a node that leads to an output in one or two
    steps, then the one discovered first (outputs are searched depth first, last input first).
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
                for value in graph[node_id]["inputs"].values()
                if (source := source_of(value, graph)) is not None and not is_cached(source)
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
    """Count the steps from a node to the nearest output; three or more are infinite."""
    nodes = [node_id]
    for distance in range(3):
        if any(is_output(node) for node in nodes):
            return distance
        nodes = [follower for node in nodes for follower in leads_to[node]]
    return math.inf
