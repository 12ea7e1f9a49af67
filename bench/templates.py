"""Measure how many of ComfyUI's official templates become a mode, and why the others do not.

The templates are those of the PyPI package `comfyui-workflow-templates-json`, the blueprints those
of `comfyui-subgraph-blueprints`; unpack them, and name their folders. Each goes the way of
`modes add --yes`, its check included. For each kind of template the figures say how many become a
mode, how many are refused, and with which reasons.
"""

import gzip
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.report import Figures, finish, machine, parser
from gpu_server.comfy import object_info
from gpu_server.modes.adding import Target, Unusable, add
from gpu_server.modes.definitions import Known
from gpu_server.modes.sources import Source
from workflows.catalog import Catalog
from workflows.importing import Definitions, NotAMode
from workflows.proposing import take_first

_BECOMES = "becomes a mode"
_NEWER, _PACK = "newer ComfyUI", "install the node pack"
_REASONS = {
    "paid service": "calls a paid service",
    _PACK: "needs a node pack",
    _NEWER: "has nodes that these definitions lack",
    "a mode makes": "makes no picture",
    "saves a picture": "makes no picture",
    "takes photos only": "needs more than photos",
}


def _kinds(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every template of the index with the kind of what it makes."""
    index = json.loads((folder / "index.json").read_text("utf-8"))
    for category in index:
        for template in category["templates"]:
            path = folder / f"{template['name']}.json"
            is_open = template.get("openSource")
            kind = {True: "open", False: "paid", None: "guide"}[is_open]
            if path.is_file():
                yield path, f"{kind}, {category['type']}"


def _judged(path: Path, known: Known, room: Path) -> str:
    """Return nothing for a template that becomes a mode which passes, else why it does not."""
    target = Target(room / "modes", "mode", is_forced=True, own_models=room / "models.json")
    try:
        add(Source(path.read_bytes(), path.name), known, Catalog({}), target, take_first)
    except NotAMode as refusal:
        text = str(refusal)
        return next((why for words, why in _REASONS.items() if words in text), text)
    except Unusable as error:
        return str(error)
    return ""


def _definitions(paths: list[Path]) -> Definitions:
    found: dict[str, Any] = {} if paths else dict(object_info.recorded())
    for path in paths:
        data = path.read_bytes()
        found |= json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    return found


def measure(templates: Path, blueprints: Path | None, known: Known, room: Path) -> Figures:
    found = list(_kinds(templates))
    if blueprints is not None:
        found += [(path, "blueprint") for path in sorted(blueprints.glob("*.json"))]
    figures: Figures = {"machine": machine(), "definitions": len(known.definitions)}
    start, slowest = time.perf_counter(), 0.0
    kinds: dict[str, Counter[str]] = {}
    refused: dict[str, str] = {}
    for path, kind in found:
        began = time.perf_counter()
        why = _judged(path, known, room)
        slowest = max(slowest, time.perf_counter() - began)
        kinds.setdefault(kind, Counter())[why or _BECOMES] += 1
        if why and kind == "open, image":
            refused[path.stem] = why
    figures["files"] = len(found)
    figures["seconds"] = time.perf_counter() - start
    figures["seconds_slowest"] = slowest
    figures["memory_most_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pictures = kinds["open, image"]
    makes_one = pictures.total() - pictures["makes no picture"]
    with_nodes = makes_one - pictures[_REASONS[_NEWER]] - pictures[_REASONS[_PACK]]
    figures["modes_percent"] = 100 * pictures[_BECOMES] / makes_one
    figures["modes_percent_of_known_nodes"] = 100 * pictures[_BECOMES] / with_nodes
    return {**figures, "kinds": {kind: dict(kinds[kind]) for kind in kinds}, "refused": refused}


def main() -> int:
    built = parser("templates", __doc__)
    built.add_argument("templates", type=Path, help="the folder of templates, with index.json")
    built.add_argument("--blueprints", type=Path, help="the folder of subgraph blueprints")
    built.add_argument(
        "--definitions",
        type=Path,
        nargs="+",
        default=[],
        help="/object_info as JSON; later files add to it (the recorded one)",
    )
    options = built.parse_args()
    known = Known(_definitions(options.definitions), "", is_engine=False)
    with tempfile.TemporaryDirectory() as room:
        figures = measure(options.templates, options.blueprints, known, Path(room))
    return finish("templates", figures, options.output)


if __name__ == "__main__":
    sys.exit(main())
