"""ComfyUI graphs in API format: find nodes and inputs by name, and follow links."""

from collections.abc import Collection, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

from workflows.spec import CatalogError

Node = dict[str, Any]
Graph = dict[str, Node]
"""A ComfyUI graph in API format: node id → `{"class_type", "inputs", "_meta": {"title"}}`."""


def find_node(graph: Graph, title: str) -> str:
    """Return the id of the only node with this title. Raises CatalogError if it is not unique."""
    ids = [key for key, node in graph.items() if title_of(node) == title]
    if len(ids) != 1:
        raise CatalogError(f"{len(ids)} nodes have the title '{title}'; exactly one is needed")
    return ids[0]


def title_of(node: Node) -> str:
    return str(node.get("_meta", {}).get("title", ""))


def find_input(graph: Graph, target: str) -> tuple[str, str]:
    """Return the node and the input that `Node title.input` names; either may have dots.

    Raises CatalogError unless exactly one existing input is meant.
    """
    dots = [at for at, letter in enumerate(target) if letter == "."]
    splits = [(target[:at], target[at + 1 :]) for at in dots]
    titles = [title_of(node) for node in graph.values()]
    known = [split for split in splits if split[0] in titles]
    if not known:
        title, _, _ = target.rpartition(".")
        raise CatalogError(f"0 nodes have the title '{title}'; exactly one is needed")
    found = [
        (key, name)
        for title, name in known
        for key in [find_node(graph, title)]
        if name in graph[key]["inputs"]
    ]
    if not found:
        title, name = known[-1]
        inputs = ", ".join(graph[find_node(graph, title)]["inputs"])
        raise CatalogError(f"the node '{title}' has no input '{name}'; it has {inputs}")
    if len(found) > 1:
        raise CatalogError("two inputs can be meant; change a title")
    return found[0]


def source_of(value: Any) -> str | None:
    """Return the id of the node an input's value links to, or None for a plain value."""
    match value:
        case [str(source), int() | float()]:
            return source
        case _:
            return None


def upstream(graph: Graph, end: str) -> set[str]:
    """Return `end` and every node that it depends on."""
    reached, new = {end}, {end}
    while new:
        inputs = (value for key in new for value in graph[key]["inputs"].values())
        new = {source for v in inputs if (source := source_of(v)) in graph} - reached
        reached |= new
    return reached


def picture_node(graph: Graph, title: str | None) -> str:
    """Return the node whose `images` are the picture: the one with this title, else the SaveImage.

    Raises CatalogError if it is not exactly one.
    """
    if title is None:
        keys = [key for key, node in graph.items() if node["class_type"] == "SaveImage"]
        if len(keys) != 1:
            more = "; name the one that has the picture as `output`" if keys else ""
            raise CatalogError(f"it has {len(keys)} SaveImage nodes; exactly one is needed{more}")
        key = keys[0]
    else:
        key = find_node(graph, title)
    if source_of(graph[key]["inputs"].get("images")) is None:
        raise CatalogError(f"node '{key}': its input 'images' is missing")
    return key


def downstream(graph: Graph, start: str) -> list[str]:
    """Return `start` and every node that depends on it, in the graph's order."""
    reached = {start}
    while True:
        new = {
            key
            for key, node in graph.items()
            if key not in reached and any(source_of(v) in reached for v in node["inputs"].values())
        }
        if not new:
            return [key for key in graph if key in reached]
        reached |= new


def cycles(graph: Graph) -> Iterator[list[str]]:
    """Find circles of links, which can never be run; of several through one node only one."""
    links = {
        key: {source for value in node["inputs"].values() if (source := source_of(value)) in graph}
        for key, node in graph.items()
    }
    while True:
        try:
            TopologicalSorter(links).prepare()
        except CycleError as error:
            circle = set(error.args[1])
            yield [key for key in links if key in circle]
            links = {key: sources - circle for key, sources in links.items() if key not in circle}
        else:
            return


def named(graph: Graph, nodes: Collection[str]) -> str:
    """Name nodes for a person: by their titles, else their classes, with their ids."""
    return ", ".join(f"'{title_of(graph[n]) or graph[n]['class_type']}' ({n})" for n in nodes)
