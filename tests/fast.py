"""Tell which tests need no process and no server of their own: what `--fast` runs."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
STARTERS = {"asyncssh", "http.server", "multiprocessing", "selenium", "subprocess", "uvicorn"}
"""A test whose modules import one of these starts something."""


def uses_fast_fixtures(item: pytest.Item) -> bool:
    """Tell by the modules of the test's fixtures."""
    assert isinstance(item, pytest.Function)
    fixtures = item._fixtureinfo.name2fixturedefs.values()
    modules = {definition.func.__module__ for each in fixtures for definition in each}
    return not any(_starts_something(_file_of(module)) for module in modules)


def is_fast(file: Path) -> bool:
    """Tell by what the test module imports, without importing it."""
    return not _starts_something(file)


@cache
def _starts_something(file: Path) -> bool:
    return file.is_file() and any(
        name in STARTERS or _starts_something(_file_of(name)) for name in _imports(file)
    )


def _file_of(module: str) -> Path:
    """Return the file of a module of the tests; for other modules one that does not exist."""
    parts = module.split(".")
    return ROOT.joinpath(*parts).with_suffix(".py") if parts[0] == "tests" else ROOT / "none.py"


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
