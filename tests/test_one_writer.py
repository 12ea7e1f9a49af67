"""A state object changes only by its own methods: nobody else assigns to its attributes."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("package", "variables"),
    [
        ("gpu_server/jobs", {"job", "run"}),
        ("gpu_server", {"job"}),
        ("backend/dispatch", {"active", "pod", "attempt"}),
        ("backend", {"active", "pod", "row"}),
        ("telegram_bot/generating", {"tracked", "message", "delivery", "row"}),
        ("telegram_bot/flows", {"tracked", "message", "delivery", "draft"}),
    ],
)
def test_nobody_assigns_to_a_state_object_from_outside(package: str, variables: set[str]) -> None:
    files = [f for f in ROOT.joinpath(package).rglob("*.py") if not _has_its_own_jobs(f)]
    assert files
    assert [f"{file}: {name}" for file in files for name in _written(file) & variables] == []


def _has_its_own_jobs(file: Path) -> bool:
    """Tell the scheduler's queued work and the sketch engine's jobs, which are other classes."""
    return bool({"scheduling", "sketch"} & set(file.relative_to(ROOT).parts))


def _written(file: Path) -> set[str]:
    """Return the variables whose attributes are assigned, augmented or deleted."""
    return {
        node.value.id
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and not isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Name)
    }
