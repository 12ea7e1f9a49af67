"""The tables of promised and measured figures, and where they come from."""

import json
from pathlib import Path

import pytest

from bench.__main__ import rewritten, tables
from bench.promises import BENCHES, PROMISES, Promise, rows
from bench.report import RESULTS

ROOT = Path(__file__).parents[2]
RECORDED = [path.stem for path in sorted(RESULTS.glob("*.json"))]


@pytest.mark.parametrize("document", tables(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_table_has_the_figures_that_are_recorded(document: Path) -> None:
    text = document.read_text("utf-8")
    assert rewritten(text, tables()[document]) == text, "run: python -m bench"


@pytest.mark.parametrize("bench", BENCHES)
def test_each_measurement_that_promises_something_has_a_command_in_the_list(bench: str) -> None:
    assert (ROOT / "bench" / f"{bench}.py").is_file()
    assert f"| `bench.{bench}` |" in (ROOT / "bench" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("bench", RECORDED)
def test_each_promise_finds_its_figure_in_what_is_recorded(bench: str) -> None:
    figures = json.loads((RESULTS / f"{bench}.json").read_text("utf-8"))
    promises = [promise for promise in PROMISES if promise.bench == bench]
    assert [promise.what for promise in promises if promise.measured(figures) is None] == []
    assert {"cpu", "cores", "python"} <= set(figures["machine"])


def test_a_missed_promise_is_shown_as_missed_by_its_worst_figure() -> None:
    slow = Promise("waits", "backend", "users.*.wait_s", 2, "s")
    fast = Promise("rate", "backend", "rate", 0.8, at_least=True)
    results = {"backend": {"users": {"a": {"wait_s": 1.0}, "b": {"wait_s": 3.0}}, "rate": 0.8}}
    assert rows([slow, fast, Promise("new", "bot", "none", 1)], results)[2:] == [
        "| waits | ≤ 2 s | 3 s **missed** |",
        "| rate | ≥ 0.8 | 0.8 |",
        "| new | ≤ 1 | not recorded |",
    ]
