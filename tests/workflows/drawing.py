"""Render with defaults, and compare two graphs."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.workflows import recorded
from workflows import catalog as workflows
from workflows.catalog import Catalog, OwnCheckpoint
from workflows.graph import Graph
from workflows.parameters import check
from workflows.render import Rendered, render, size_of

OWN = workflows.load()
PLAIN = workflows.load(own=OwnCheckpoint(recorded.CHECKPOINT, recorded.CONTROLNET))

EVERY_STYLE = [
    pytest.param(catalog, mode.name, style, id=f"{kind}-{mode.name}-{style}")
    for kind, catalog in (("own", OWN), ("plain", PLAIN))
    for mode in catalog
    for style in mode.styles
]
"""(catalogue, mode, style) for every style, with its own graph and with the plain one."""
FROM_WORDS = [each for each in EVERY_STYLE if each.values[1] in ("free", "restyle")]
"""Those that draw several pictures from words, in sizes of their own."""


def draw(
    catalog: Catalog,
    mode: str,
    values: Mapping[str, Any],
    *,
    photo: str = "easel/job/photo.png",
    prefix: str = "easel/job",
    output_class: str = "SaveImage",
) -> Rendered:
    """Render the graph as a service would, for those of these values that the mode takes.

    Required values are filled in.
    """
    chosen = catalog.modes[mode]
    wanted = {"prompt": "a red fox", "seed": 7, **values}
    taken = {"style", *chosen.spec.parameters}
    complete = {name: value for name, value in wanted.items() if name in taken}
    complete |= dict.fromkeys(chosen.photos, True)
    request = check(catalog, mode, complete)
    return render(
        chosen,
        request,
        size=size_of(chosen, request),
        prefix=prefix,
        photos=dict.fromkeys(chosen.photos, photo),
        output_class=output_class,
    )


def by_title(graph: Graph) -> dict[str, Any]:
    """Map `Node title.input` to its value and links to titles, so that node ids do not matter."""
    titles = {key: node["_meta"]["title"] for key, node in graph.items()}
    assert len(set(titles.values())) == len(titles)
    return {
        f"{titles[key]}.{name}": (titles[value[0]], value[1]) if isinstance(value, list) else value
        for key, node in graph.items()
        for name, value in node["inputs"].items()
    }


def changes(before: Graph, after: Graph) -> dict[str, Any]:
    """Return the inputs of `after` that differ from those of `before`."""
    old, new = by_title(before), by_title(after)
    assert old.keys() == new.keys()
    return {name: value for name, value in new.items() if value != old[name]}
