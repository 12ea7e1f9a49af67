"""Puts what is promised and what was measured into the tables of README.md and bench/README.md.

They are read from `bench/results/`; nothing is measured. `--check` only compares.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench.promises import BENCHES, PROMISES, rows
from bench.report import RESULTS

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- written by `python -m bench` -->\n", "<!-- until here -->\n"


def tables() -> dict[Path, str]:
    """Each document and what stands between its marks."""
    files = {name: RESULTS / f"{name}.json" for name in BENCHES}
    found = {name: json.loads(f.read_text("utf-8")) for name, f in files.items() if f.is_file()}
    headlines = [promise for promise in PROMISES if promise.headline]
    everything = [*rows(PROMISES, found), "", *_machines(found)]
    return {
        ROOT / "README.md": "\n".join(rows(headlines, found)),
        ROOT / "bench" / "README.md": "\n".join(everything),
    }


def _machines(results: dict[str, Any]) -> list[str]:
    lines = ["| measured by | engine | on |", "|---|---|---|"]
    for name in BENCHES:
        figures = results.get(name)
        if figures is None:
            continue
        one = figures["machine"]
        where = f"{one['cores']} cores, {one['cpu']}, Python {one['python']}"
        load = one.get("load_before")
        busy = "" if load is None else f", load before {load}"
        lines.append(f"| `{name}` | {figures.get('engine', '')} | {where}{busy} |")
    return lines


def rewritten(document: str, table: str) -> str:
    """The document with this table between its marks; raises ValueError without them."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"there must be lines {BEGIN.strip()} and {END.strip()}")
    return f"{before}{begin}\n{table}\n\n{end}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if a table is out of date")
    check = parser.parse_args().check
    old = 0
    for path, table in tables().items():
        document = path.read_text("utf-8")
        if (wanted := rewritten(document, table)) == document:
            continue
        old = 1
        print(f"{path.relative_to(ROOT)}: {'out of date' if check else 'written'}")
        if not check:
            path.write_text(wanted, "utf-8")
    return old if check else 0


if __name__ == "__main__":
    sys.exit(main())
