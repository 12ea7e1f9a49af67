"""Every check of the project, as `./startup.sh test` runs them."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TESTS_FAILED = 1
"""pytest's exit code for that, and for nothing else."""


def run_all(root: Path, pytest_arguments: Sequence[str]) -> int:
    """Run style, types, imports and tests, all of them; returns the first code that is not 0.

    The tests' own code comes before that of the others.
    """
    python = sys.executable
    checks = (
        (python, "-m", "ruff", "check", "."),
        (python, "-m", "ruff", "format", "--check", "."),
        (python, "-m", "mypy"),
        (str(Path(python).parent / "lint-imports"),),
    )
    codes = [_run(root, check) for check in checks]
    return _run_tests(root, pytest_arguments) or next((code for code in codes if code), 0)


def _run_tests(root: Path, arguments: Sequence[str]) -> int:
    """The suite; what failed in it runs once more by itself.

    Many tests drive real processes against the clock of a promise, and a machine that is busy with
    something else can starve one. What fails twice has failed.
    """
    pytest = (sys.executable, "-m", "pytest", *arguments)
    code = _run(root, pytest)
    if code != TESTS_FAILED:
        return code
    print("Some tests failed, see above. They run once more, by themselves.", flush=True)
    return _run(root, (*pytest, "--last-failed", "--last-failed-no-failures", "none"))


def _run(root: Path, argv: Sequence[str]) -> int:
    print("+", " ".join((Path(argv[0]).name, *argv[1:])), flush=True)
    return subprocess.run(argv, cwd=root, check=False).returncode  # noqa: S603
