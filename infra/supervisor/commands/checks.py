"""Run the project's checks and tests, as `./startup.sh test` does."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_TESTS_FAILED = 1
"""pytest's exit code for failed tests, and for nothing else."""
_WORKERS = 4
"""Test processes side by side: on 2 cores, half of them wait for a promise's clock."""
_OWN_CHOICE = ("-n", "--numprocesses", "--dist", "--pdb", "-p", "--collect-only", "--co")
"""With one of these pytest options the caller decides how the tests are spread."""


def run_all(root: Path, arguments: Sequence[str]) -> int:
    """Run style, types, imports and tests, all of them; return the first code that is not 0.

    The tests' own code comes before that of the others. `--fast` leaves out the tests that start
    processes; all other arguments go to pytest.
    """
    python = sys.executable
    checks = (
        (python, "-m", "ruff", "check", "."),
        (python, "-m", "ruff", "format", "--check", "."),
        (python, "-m", "mypy"),
        (str(Path(python).parent / "lint-imports"),),
    )
    codes = [_run(root, check) for check in checks]
    return _run_tests(root, arguments) or next((code for code in codes if code), 0)


def _run_tests(root: Path, arguments: Sequence[str]) -> int:
    """Run the suite; what failed in it runs once more, alone and one test after the other.

    Many tests drive real processes against the clock of a promise, and a busy machine can starve
    one. What fails twice has failed.
    """
    pytest = (sys.executable, "-m", "pytest", *arguments)
    spread = any(argument.startswith(_OWN_CHOICE) for argument in arguments)
    code = _run(root, pytest if spread else (*pytest, "-n", str(_WORKERS), "--dist", "loadfile"))
    if code != _TESTS_FAILED:
        return code
    print("Some tests failed, see above. They run once more, by themselves.", flush=True)
    return _run(root, (*pytest, "--last-failed", "--last-failed-no-failures", "none"))


def _run(root: Path, argv: Sequence[str]) -> int:
    print("+", " ".join((Path(argv[0]).name, *argv[1:])), flush=True)
    return subprocess.run(argv, cwd=root, check=False).returncode  # noqa: S603
