"""Measure how many of ComfyUI's official templates become a graph, and why the others do not.

The templates are those of the PyPI package `comfyui-workflow-templates-json`, the blueprints those
of `comfyui-subgraph-blueprints`; unpack them, and name their folders. For each kind of template the
figures say how many convert to a graph in which ComfyUI's definitions find no fault but missing
model files, how many are refused, and with which reasons.
"""

import gzip
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.report import Figures, finish, machine, parser
from gpu_server.comfy import object_info
from workflows.importing import Definitions, NotAMode, convert, read

_NEWER = "newer ComfyUI"
_REASONS = {
    "paid service": "calls a paid service",
    "install the node pack": "needs a node pack",
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


def _judged(path: Path, definitions: Definitions) -> str:
    """Return nothing for a template that becomes a sound graph, else why it does not."""
    try:
        graph = convert(read(path.read_bytes(), path.name), definitions).graph
    except NotAMode as refusal:
        text = str(refusal)
        return next((why for words, why in _REASONS.items() if words in text), text)
    faults = object_info.faults_in(graph, definitions)
    unsound = [str(fault) for fault in faults if fault.missing_choice is None]
    return f"fault in the graph: {unsound[0]}" if unsound else ""


def _definitions(paths: list[Path]) -> Definitions:
    found: dict[str, Any] = {} if paths else dict(object_info.recorded())
    for path in paths:
        data = path.read_bytes()
        found |= json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    return found


def measure(templates: Path, blueprints: Path | None, definitions: Definitions) -> Figures:
    found = list(_kinds(templates))
    if blueprints is not None:
        found += [(path, "blueprint") for path in sorted(blueprints.glob("*.json"))]
    figures: Figures = {"machine": machine(), "definitions": len(definitions)}
    start = time.perf_counter()
    kinds: dict[str, Counter[str]] = {}
    refused: dict[str, str] = {}
    for path, kind in found:
        why = _judged(path, definitions)
        kinds.setdefault(kind, Counter())[why or "converted"] += 1
        if why and kind == "open, image":
            refused[path.stem] = why
    figures["seconds"] = time.perf_counter() - start
    figures["memory_most_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pictures = kinds["open, image"]
    makes_one = pictures.total() - pictures["makes no picture"]
    known = makes_one - pictures[_REASONS[_NEWER]]
    figures["converted_percent"] = 100 * pictures["converted"] / makes_one
    figures["converted_percent_of_known_nodes"] = 100 * pictures["converted"] / known
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
    figures = measure(options.templates, options.blueprints, _definitions(options.definitions))
    return finish("templates", figures, options.output)


if __name__ == "__main__":
    sys.exit(main())
