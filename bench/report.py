"""What every measurement shares: its options, the machine, and the file its figures go to."""

import argparse
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

from bench.promises import promises_of, rows

RESULTS = Path(__file__).with_name("results")
DIGITS = 4  # significant ones; more would be noise

Figures = dict[str, Any]


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options of `python -m bench.NAME`; `--output` is where its figures go."""
    made = argparse.ArgumentParser(
        prog=f"python -m bench.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--output",
        type=Path,
        default=RESULTS / f"{name}.json",
        help=f"where the figures go (bench/results/{name}.json)",
    )
    return made


def machine() -> Figures:
    """The machine, and how busy it is; to be asked before anything is measured."""
    lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
    models = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return {
        "cpu": ", ".join(sorted(models)) or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def finish(name: str, figures: Figures, output: Path) -> int:
    """Print the figures and the promises they hold or miss, and write them; 1 if one is missed."""
    kept = _rounded(figures)
    print("\n".join(_lines(kept)), end="\n\n")
    print("\n".join(rows(promises_of(name), {name: kept})))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")
    return int(any(promise.missed(kept) for promise in promises_of(name)))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value


def _lines(value: Any, name: str = "", indent: str = "") -> list[str]:
    """An indented list of what a JSON document has."""
    if isinstance(value, dict):
        deeper = indent + "  " if name else indent
        inner = [line for key, item in value.items() for line in _lines(item, key, deeper)]
        return [f"{indent}{name}", *inner] if name else inner
    if isinstance(value, list):
        return [line for item in value for line in _lines(item, name, indent)]
    return [f"{indent}{name:{max(40 - len(indent), 1)}} {value}"]
