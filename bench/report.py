"""What every measurement reports: the machine, its figures and the promises they meet."""

import argparse
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

from bench.promises import promises_of, rows

RESULTS = Path(__file__).with_name("results")
_DIGITS = 4  # significant digits; more would be noise

Figures = dict[str, Any]


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Build the command line of `python -m bench.NAME`, with the option `--output`."""
    built = argparse.ArgumentParser(
        prog=f"python -m bench.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    built.add_argument(
        "--output",
        type=Path,
        default=RESULTS / f"{name}.json",
        help=f"where to write the figures (bench/results/{name}.json)",
    )
    return built


def machine() -> Figures:
    """Describe the machine and its load; call this before measuring."""
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
    """Print and write the figures, and their promises; return 1 if a promise is missed."""
    rounded = _rounded(figures)
    print("\n".join(_lines(rounded)), end="\n\n")
    print("\n".join(rows(promises_of(name), {name: rounded})))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(rounded, indent=2) + "\n", "utf-8")
    return int(any(promise.missed(rounded) for promise in promises_of(name)))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list) else value


def _lines(value: Any, name: str = "", indent: str = "") -> list[str]:
    """List the content of a JSON document, indented."""
    if isinstance(value, dict):
        deeper = indent + "  " if name else indent
        inner = [line for key, item in value.items() for line in _lines(item, key, deeper)]
        return [f"{indent}{name}", *inner] if name else inner
    if isinstance(value, list):
        return [line for item in value for line in _lines(item, name, indent)]
    return [f"{indent}{name:{max(40 - len(indent), 1)}} {value}"]
