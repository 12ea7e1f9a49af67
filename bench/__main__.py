"""Write promised and measured figures into the tables of README.md and bench/README.md.

The figures come from `bench/results/`; nothing is measured. `--check` only compares.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench.promises import BENCHES, PROMISES, rows
from bench.report import RESULTS

_ROOT = Path(__file__).parents[1]
_BEGIN, _END = "<!-- written by `python -m bench` -->\n", "<!-- until here -->\n"


def tables() -> dict[Path, str]:
    """Return, for each document, the table that belongs between its marks."""
    files = {name: RESULTS / f"{name}.json" for name in BENCHES}
    results = {name: json.loads(f.read_text("utf-8")) for name, f in files.items() if f.is_file()}
    headlines = [promise for promise in PROMISES if promise.headline]
    everything = [*rows(PROMISES, results), "", *_machines(results)]
    return {
        _ROOT / "README.md": "\n".join(rows(headlines, results)),
        _ROOT / "bench" / "README.md": "\n".join(everything),
    }


def _machines(results: dict[str, Any]) -> list[str]:
    lines = ["| measured by | engine | on |", "|---|---|---|"]
    for name in BENCHES:
        figures = results.get(name)
        if figures is None:
            continue
        machine = figures["machine"]
        where = f"{machine['cores']} cores, {machine['cpu']}, Python {machine['python']}"
        load = machine.get("load_before")
        busy = "" if load is None else f", load before {load}"
        lines.append(f"| `{name}` | {figures.get('engine', '')} | {where}{busy} |")
    return lines


def rewritten(document: str, table: str) -> str:
    """Put the table between the document's marks; raise ValueError if they are missing."""
    before, begin, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"there must be lines {_BEGIN.strip()} and {_END.strip()}")
    return f"{before}{begin}\n{table}\n\n{end}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 if a table is out of date")
    check = parser.parse_args().check
    is_outdated = False
    for path, table in tables().items():
        document = path.read_text("utf-8")
        if (updated := rewritten(document, table)) == document:
            continue
        is_outdated = True
        print(f"{path.relative_to(_ROOT)}: {'out of date' if check else 'written'}")
        if not check:
            path.write_text(updated, "utf-8")
    return int(is_outdated and check)


if __name__ == "__main__":
    sys.exit(main())
