"""Give every node of a graph a title of its own that people can read."""

from collections.abc import Mapping
from copy import deepcopy

from workflows.graph import Graph
from workflows.proposing.net import Net

_LONGEST = 60


def titled(net: Net, roles: Mapping[str, str]) -> Graph:
    """Copy the graph with unique titles; nodes in `roles` are called so unless they have a name.

    A name is a title that a person gave: neither the class nor what ComfyUI calls the class.
    """
    graph = deepcopy(net.graph)
    taken: set[str] = set()
    for key in (*roles, *(key for key in graph if key not in roles)):
        node = graph[key]
        definition = net.definitions.get(net.class_of(key), {})
        usual = clean(str(definition.get("display_name") or "")) or net.class_of(key)
        given = clean(str(node.get("_meta", {}).get("title", "")))
        is_named = given not in ("", usual, net.class_of(key))
        title = _unique(given if is_named else roles.get(key, usual), taken)
        taken.add(title)
        node["_meta"] = {"title": title}
    return graph


def clean(text: str) -> str:
    """Return a text from a file as one short printable line."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:_LONGEST].strip()


def _unique(title: str, taken: set[str]) -> str:
    number, chosen = 1, title
    while chosen in taken:
        number += 1
        chosen = f"{title} {number}"
    return chosen
